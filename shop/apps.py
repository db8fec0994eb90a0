from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from sagas import registry, tasks

        from . import celery as celery
        from .wiring import WIRING

        registry.register(WIRING)
        tasks.register_tasks()
