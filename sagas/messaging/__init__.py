"""The edge to Celery: rows become messages, messages become calls of the engine."""
