"""Events to receivers outside: as signed webhooks, and to Redis Streams."""
