from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class SagasConfig(AppConfig):
    name = "sagas"
    verbose_name = "Processes"

    def ready(self) -> None:
        from backoffice import keys

        from .core import registry
        from .log import outbox
        from .messaging import tasks
        from .operations import system_checks

        system_checks.register_checks()
        keys.ask_for_names(registry.named, registry.key_of, registry.key_example)

        if settings.SAGAS_RELAY == "celery":
            outbox.set_waker(tasks.wake_relay)
        post_migrate.connect(_begin_to_follow, sender=self)


def _begin_to_follow(plan: Any = None, apps: Any = None, **_: Any) -> None:
    """Have new subscriptions begin before the first process of their code writes an event."""
    from .db import clock
    from .log import followers

    # `flush` sends this signal too, without a plan; migrating back takes the table away.
    if plan is not None and "follower" in apps.all_models["sagas"]:
        followers.create_missing(now=clock.now())
