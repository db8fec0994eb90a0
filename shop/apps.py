"""Tells the engine what this project wires together."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from sagas import registry, tasks

        from . import celery  # noqa: F401 - makes it the application that tasks belong to
        from .keys import KEY_NAMES
        from .wiring import WIRING

        registry.register(WIRING)
        registry.name_keys(KEY_NAMES)
        tasks.register_tasks()
