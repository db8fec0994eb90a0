"""Registers the project's definitions with the engine."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
    verbose_name = "Figures"

    def ready(self) -> None:
        from sagas.core import registry

        from . import celery  # noqa: F401 - makes it the application of all tasks
        from .changes import AUDITED, ON_CHANGE
        from .keys import KEY_NAMES
        from .reconciliation.checks import CHECKS
        from .reconciliation.walks import WALKS
        from .wiring import DORMANT, READ_MODELS, SAGAS, WIRING

        registry.register(
            WIRING,
            sagas=SAGAS,
            dormant=DORMANT,
            read_models=READ_MODELS,
            checks=CHECKS,
            walks=WALKS,
            audited=AUDITED,
            on_change=ON_CHANGE,
            key_names=KEY_NAMES,
        )
