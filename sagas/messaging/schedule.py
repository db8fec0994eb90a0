"""Beat's schedule of the engine. Imports no model, so that `celery.py` of a project can use it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from celery.schedules import schedule

from ..conf import ENGINE_QUEUE, RELAY_QUEUE, conf


def beat_schedule(now: Callable[[], datetime] | None = None) -> dict[str, Any]:
    """Return the engine's entries for a project's schedule.

    Relay and sweep are left out if their own process does them (`SAGAS_RELAY = "process"`): without a worker their
    messages would pile up. The messages do not expire: a worker would compare with its own clock, which may be minutes
    off. A pile of messages does no harm (decision 0010).

    Args:
        now: the clock of beat; by default the machine's.
    """

    def entry(name: str, seconds: float, queue: str) -> dict[str, Any]:
        return {"task": f"sagas.{name}", "schedule": schedule(seconds, nowfun=now), "options": {"queue": queue}}

    relay = {"relay": entry("relay", 1.0, RELAY_QUEUE), "sweep": entry("sweep", 1.0, RELAY_QUEUE)}
    return (relay if conf.RELAY == "celery" else {}) | {
        "follow": entry("follow", 1.0, ENGINE_QUEUE),
        "ask-workers": entry("ask_workers", 5.0, ENGINE_QUEUE),
        "reconcile": entry("reconcile", conf.RECONCILE_SECONDS, ENGINE_QUEUE),
    }
