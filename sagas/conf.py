"""Settings of the engine: each `SAGAS_*` setting with its default, its unit and its limits.

A project sets only the values that should differ. They are read at the time of use:

    from sagas.conf import conf
    conf.BATCH_SIZE  # settings.SAGAS_BATCH_SIZE, or 100
"""

import sys
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from django.conf import settings

#: Queue of error callbacks, read models, the reconciliation and interventions; its worker checks the other queues.
ENGINE_QUEUE = "sagas"
#: Queue of the relay and the sweep, so that nothing else holds them up.
RELAY_QUEUE = "relay"

T = TypeVar("T", int, float, str)


class Setting(Generic[T]):
    """One setting: a descriptor that reads Django's settings each time."""

    name: str

    def __init__(
        self, default: T, *, minimum: float = 0, maximum: float = sys.float_info.max, known: tuple[T, ...] = ()
    ) -> None:
        self.default: T = default
        self.known: tuple[T, ...] = known
        self.minimum, self.maximum = minimum, maximum

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"SAGAS_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "T | Setting[T]":
        if instance is None:
            return self
        value: T = getattr(settings, self.name, self.default)
        return value

    def fault(self) -> str | None:
        """Return the fault of the value that a project has set, as a sentence that says what to do."""
        default: Any = self.default
        value: Any = getattr(settings, self.name, default)
        if self.known:
            return None if value in self.known else f"{self.name} is {value!r}. Set it to {_or(self.known)}."
        kinds, words = ((int,), "a whole number") if isinstance(default, int) else ((int, float), "a number")
        # bool is an int to Python.
        if isinstance(value, kinds) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            return None
        at_most = f" and at most {self.maximum:g}" if self.maximum < sys.float_info.max else ""
        return f"{self.name} is {value!r}. Set it to {words} of at least {self.minimum:g}{at_most}."


def _or(values: tuple[object, ...]) -> str:
    return " or ".join(map(repr, values))


class Conf:
    """The settings; docs/your-own-project.md lists them for readers."""

    #: Seconds without progress after which a run or a delivery is sent again. Doubled each time, ten minutes at most.
    RESEND_AFTER_SECONDS = Setting(20.0, minimum=0.1)
    #: Seconds after which another worker takes over a call outside that has not returned. A step may have its own
    #: value.
    LEASE_SECONDS = Setting(30.0, minimum=0.1)
    #: Seconds after which a try is cut short; shorter than CELERY_TASK_TIME_LIMIT, which kills the worker. A policy may
    #: have its own value.
    TRY_SECONDS = Setting(20.0, minimum=0.1)
    #: Maximum number of events in one turn of the relay, and of runs or deliveries in one sweep: bounds their
    #: transactions.
    RELAY_LIMIT = Setting(500, minimum=1)
    #: Maximum number of runs in one chain, or of deliveries in one message (decision 0013).
    BATCH_SIZE = Setting(100, minimum=1)
    #: The program that relays and sweeps: "celery" (woken by each commit, and by beat each second), or "process"
    #: (`manage.py relay`); with "process" Celery gets no message about it.
    RELAY = Setting("celery", known=("celery", "process"))
    #: Seconds between two turns of the reconciliation.
    RECONCILE_SECONDS = Setting(20.0, minimum=0.1)
    #: Celery's priority of messages of low-priority work, and of single messages for what a batch has left. Redis
    #: delivers 0 first and 9 last, RabbitMQ the other way round: with RabbitMQ, set both to 0.
    LOW_PRIORITY = Setting(9, minimum=0, maximum=9)
    SINGLE_PRIORITY = Setting(6, minimum=0, maximum=9)

    @classmethod
    def faults(cls) -> Iterator[str]:
        """Yield the faults of this project's settings, unknown `SAGAS_*` names included."""
        known = {setting.name: setting for setting in vars(cls).values() if isinstance(setting, Setting)}
        for setting in known.values():
            if (fault := setting.fault()) is not None:
                yield fault
        for name in sorted(set(_set_names()) - known.keys()):
            yield f"{name} is no setting of the engine. Remove it, or correct its name: {', '.join(known)}."


def _set_names() -> list[str]:
    return [name for name in dir(settings) if name.startswith("SAGAS_")]


conf = Conf()
