"""The engine: sagas, outbox and deliveries for any Django project."""
