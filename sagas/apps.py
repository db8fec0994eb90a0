from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SagasConfig(AppConfig):
    name = "sagas"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Processes"

    def ready(self) -> None:
        # `tasks` is imported for its effect: Celery knows the engine's tasks from here on.
        from .books import engine_checks
        from .conf import conf
        from .core import registry
        from .log import outbox
        from .messaging import tasks  # noqa: F401
        from .messaging.waker import waker
        from .operations import system_checks

        registry.register(checks=engine_checks.CHECKS)
        system_checks.register_checks()
        if conf.RELAY == "celery":
            outbox.set_waker(waker.wake)
        post_migrate.connect(_begin_to_follow, sender=self)


def _begin_to_follow(plan: Any = None, apps: Any = None, **_: Any) -> None:
    """Create new followers before the first process of the new code writes an event."""
    from .db import clock
    from .log import followers

    # `flush` sends this signal too, without a plan; a backward migration drops the table.
    if plan is not None and "follower" in apps.all_models["sagas"]:
        followers.create_missing(now=clock.now())
