"""Registers the project's definitions with the engine, and names other apps."""

from django.apps import AppConfig, apps

#: Names of other apps in the admin: the groups of the navigation in which their pages are.
_TITLES = {"auth": "People", "django_celery_results": "Processes"}


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
        for label, title in _TITLES.items():
            apps.get_app_config(label).verbose_name = title
