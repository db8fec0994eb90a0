"""The edge to Celery: messages out (`publish`, `waker`), messages in (`tasks`), and when they come (`schedule`)."""
