"""Tells the engine what this project wires together."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = "Shop"

    def ready(self) -> None:
        from sagas.books import engine_checks
        from sagas.cdc import watched
        from sagas.core import registry
        from sagas.messaging import tasks

        from . import celery  # noqa: F401 - makes it the application that tasks belong to
        from .changes import AUDITED, ON_CHANGE
        from .keys import KEY_NAMES
        from .reconciliation.checks import CHECKS
        from .reconciliation.walks import WALKS
        from .wiring import DORMANT, READ_MODELS, SAGAS, WIRING

        registry.register(WIRING, sagas=SAGAS, dormant=DORMANT)
        registry.register_read_models(READ_MODELS)
        registry.name_keys(KEY_NAMES)
        registry.register_checks((*engine_checks.CHECKS, *CHECKS), WALKS)
        watched.watch(AUDITED, ON_CHANGE)
        tasks.register_tasks()
