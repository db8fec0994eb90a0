"""The vocabulary of the engine: definitions, events, errors, statuses. Pure: no Django, no Celery, no database."""
