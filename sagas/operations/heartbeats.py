"""Heartbeats of queues: a question is sent to each queue, and the worker that takes it writes the time.

A queue whose worker is dead, frozen or not started does not answer; one with a busy worker answers late. A queue has at
most one question that is not taken for lost, so a queue without a worker does not fill with questions.
"""

from datetime import datetime, timedelta

from ..conf import ENGINE_QUEUE, RELAY_QUEUE
from ..core import registry
from ..models import Heartbeat

#: Longer than a try may take (20 s): a worker whose processes are all busy answers in time.
SILENT_AFTER = timedelta(seconds=30)
#: After this time a question without an answer is taken for lost.
_ASK_AGAIN_AFTER = timedelta(seconds=12)


def queues() -> list[str]:
    """Return every queue that the engine, a step or a reaction of this code uses."""
    steps = (step for saga in registry.sagas() for step in (*saga.steps, *saga.after_undo))
    named = {step.queue for step in steps} | {subscription.queue for subscription in registry.subscriptions()}
    return sorted(named | {ENGINE_QUEUE, RELAY_QUEUE})


def ask(*, by: str, now: datetime) -> list[str]:
    """Write a question for each other queue without an open one; return these queues, to send each a message.

    Both the engine's worker and the relay call this, so that questions go on when one of the two is dead. The relay is
    not asked: it may be a process without a queue.

    Transaction: a statement each.

    Args:
        by: the queue whose worker calls; the call counts as its answer.
    """
    answered(by, now=now)
    open_ = Heartbeat.objects.filter(asked_at__gt=now - _ASK_AGAIN_AFTER).values_list("queue", flat=True)
    asked = sorted({*queues()} - {by, RELAY_QUEUE, *open_})
    # A queue without an earlier question counts as served until now.
    rows = [Heartbeat(queue=queue, asked_at=now, alive_at=now) for queue in asked]
    Heartbeat.objects.bulk_create(rows, update_conflicts=True, unique_fields=["queue"], update_fields=["asked_at"])
    return asked


def answered(queue: str, *, now: datetime) -> None:
    """Note that a worker serves a queue.

    Transaction: a single statement.
    """
    Heartbeat.objects.bulk_create(
        [Heartbeat(queue=queue, asked_at=None, alive_at=now)],
        update_conflicts=True,
        unique_fields=["queue"],
        update_fields=["asked_at", "alive_at"],
    )


def silent(*, now: datetime) -> dict[str, datetime]:
    """Return the queues that no worker serves, each with the last sign of life; one statement."""
    found = Heartbeat.objects.filter(queue__in=queues(), alive_at__lt=now - SILENT_AFTER)
    return dict(found.values_list("queue", "alive_at").order_by("queue"))


def last_signs() -> dict[str, datetime]:
    """Return the last sign of life of each queue; one statement."""
    return dict(Heartbeat.objects.values_list("queue", "alive_at"))


def is_silent(alive_at: datetime | None, *, now: datetime) -> bool:
    """Say whether no worker serves a queue with this last sign of life; None if there was none."""
    return alive_at is None or alive_at < now - SILENT_AFTER
