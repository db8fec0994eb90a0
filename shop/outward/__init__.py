"""Events that leave: who receives them, as signed webhooks and onto Redis Streams."""
