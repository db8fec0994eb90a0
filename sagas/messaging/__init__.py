"""The edge to Celery: messages out (`publish`, `waker`), messages in (`tasks`), and beat's schedule (`schedule`)."""
