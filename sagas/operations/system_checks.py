"""Django system checks: faults of definitions and settings fail at start-up, each with a hint."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from ..conf import ENGINE_QUEUE, RELAY_QUEUE, conf
from ..core import registry
from ..core.events import IntegrationEvent
from ..core.saga import Step
from ..core.subscription import Start, Subscription
from ..engine.limits import lease_of


def register_checks() -> None:
    """Register the checks with Django."""
    register(check_settings, "sagas")
    register(check_admin, "sagas")
    register(check_definitions, "sagas")


def check_settings(**_: Any) -> list[CheckMessage]:
    """Report every `SAGAS_*` setting that is invalid or unknown."""
    hint = "The settings of the engine, with their defaults, stand in sagas/conf.py."
    return [Error(fault, hint=hint, id="sagas.E007") for fault in conf.faults()]


def check_admin(**_: Any) -> list[CheckMessage]:
    """Report an admin without unfold, which the engine's pages need."""
    if not apps.is_installed("django.contrib.admin") or apps.is_installed("unfold"):
        return []
    hint = 'Install django-unfold, and put "unfold" in front of "django.contrib.admin" in INSTALLED_APPS.'
    return [Error("The engine's pages in the admin need unfold.", hint=hint, id="sagas.E008")]


def check_definitions(**_: Any) -> list[CheckMessage]:
    """Report every fault of every registered saga and subscription, and of their limits.

    Limits are compared only if each setting is valid: `check_settings` reports those that are not.
    """
    if any(conf.faults()):
        return []
    return [
        *(
            Error(f"saga {saga.name}: {fault}", hint="See sagas/core/saga.py.", id="sagas.E001")
            for saga in registry.sagas()
            for fault in saga.faults()
        ),
        *(Error(fault, hint="Celery knows a task by its name only.", id="sagas.E002") for fault in _shared_names()),
        *(
            Error(fault, hint="Add the queue to CELERY_TASK_QUEUES, and have a worker serve it.", id="sagas.E003")
            for fault in _unknown_queues()
        ),
        *(Error(fault, hint="See sagas/core/retry.py.", id="sagas.E004") for fault in _senseless_policies()),
        *(
            Error(fault, hint="Make it shorter, or CELERY_TASK_TIME_LIMIT longer.", id="sagas.E005")
            for fault in _limits()
        ),
        *(
            Error(fault, hint="Make it an IntegrationEvent: docs/contracts.md.", id="sagas.E006")
            for fault in _strangers()
        ),
    ]


def _steps() -> Iterator[tuple[str, Step]]:
    for saga in registry.sagas():
        for step in (*saga.steps, *saga.after_undo):
            yield f"step {step.name!r} of saga {saga.name}", step


def _steps_and_reactions() -> Iterator[tuple[str, Step | Subscription]]:
    yield from _steps()
    for subscription in registry.subscriptions():
        if not isinstance(subscription, Start):
            yield f"subscription {subscription.name!r}", subscription


def _shared_names() -> Iterator[str]:
    """Yield task names of both a step and a reaction. Two sagas may share a step's task, which reads its row."""
    steps = {step.task for _, step in _steps()} | {step.undo_task for _, step in _steps() if step.undo is not None}
    reactions = Counter(subscription.task for subscription in registry.subscriptions())
    for name, count in sorted(reactions.items()):
        if count > 1 or name in steps:
            yield f"the task name {name!r} stands for a subscription and for something else"


def _unknown_queues() -> Iterator[str]:
    known = {queue.name for queue in getattr(settings, "CELERY_TASK_QUEUES", None) or ()}
    if not known:
        return  # workers get their queues by `celery worker -Q`
    for queue in (ENGINE_QUEUE, RELAY_QUEUE):
        if queue not in known:
            yield f"the engine: CELERY_TASK_QUEUES has no queue {queue!r}"
    for what, work in _steps_and_reactions():
        if work.queue not in known:
            yield f"{what}: CELERY_TASK_QUEUES has no queue {work.queue!r}"


def _senseless_policies() -> Iterator[str]:
    policies = [(what, "retry", work.retry) for what, work in _steps_and_reactions()]
    policies += [(what, "undo_retry", step.undo_retry) for what, step in _steps() if step.undo is not None]
    for what, name, policy in policies:
        if policy.attempts < 1:
            yield f"{what}: {name} allows no try"
        if policy.base_seconds <= 0 or policy.cap_seconds < policy.base_seconds:
            yield f"{what}: the pauses of {name} go from {policy.base_seconds:g} to {policy.cap_seconds:g} s"
        if policy.try_seconds is not None and not 0 < policy.try_seconds < _hard_limit():
            yield f"{what}: a try of {policy.try_seconds:g} s ({name}) does not end before Celery's {_hard_limit():g} s"
    for what, work in _steps_and_reactions():
        if not lease_of(work).total_seconds() > 0:
            yield f"{what}: its lease is over before it began"
    for subscription in registry.subscriptions():
        if subscription.at_once is not None and not (subscription.outside and subscription.at_once > 0):
            yield f"subscription {subscription.name!r}: at_once is for reactions outside, and 1 at least"


def _limits() -> Iterator[str]:
    """Yield a fault unless `SAGAS_TRY_SECONDS` is less than `CELERY_TASK_TIME_LIMIT`, when Celery kills the worker."""
    if _hard_limit() <= conf.TRY_SECONDS:
        yield (
            f"SAGAS_TRY_SECONDS ({conf.TRY_SECONDS:g}) is not shorter than CELERY_TASK_TIME_LIMIT"
            f" ({_hard_limit():g}): a try that hangs would kill its worker"
        )


def _strangers() -> Iterator[str]:
    """Yield reactions to domain events of other contexts: such an event has no contract.

    A context has the name of its queue; a saga belongs to the contexts of all its steps.
    """
    for subscription in registry.subscriptions():
        queues = {subscription.queue}
        if isinstance(subscription, Start):
            queues = {step.queue for step in (*subscription.saga.steps, *subscription.saga.after_undo)}
        for event in subscription.events.values():
            if not issubclass(event, IntegrationEvent) and queues != {event.type.partition(".")[0]}:
                yield f"subscription {subscription.name!r} reacts to {event.type}, a domain event of another context"


def _hard_limit() -> float:
    return float(getattr(settings, "CELERY_TASK_TIME_LIMIT", None) or "inf")
