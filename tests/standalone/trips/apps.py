from django.apps import AppConfig


class TripsConfig(AppConfig):
    name = "tests.standalone.trips"
    label = "trips"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sagas.core import registry
        from sagas.core.subscription import starts

        from .saga import BOOK_TRIP

        registry.register([starts(BOOK_TRIP)])
