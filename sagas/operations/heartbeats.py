"""Whether the queues are served: each is sent a question, and the worker that takes it writes down when.

A queue whose worker is dead, frozen or not started answers nothing; one that is only busy answers late. At most one
question is on its way to a queue, but for those that may be lost, so a queue without a worker does not fill with them.
"""

from datetime import datetime, timedelta

from ..conf import ENGINE_QUEUE, RELAY_QUEUE
from ..core import registry
from ..models import Heartbeat

#: Longer than a try may take (20 s): a worker whose hands are all busy answers in time.
SILENT_AFTER = timedelta(seconds=30)
#: A question that was not answered by then may be lost.
_ASK_AGAIN_AFTER = timedelta(seconds=12)


def queues() -> list[str]:
    """Return every queue that the engine, a step or a reaction of this code needs."""
    steps = (step for saga in registry.sagas() for step in (*saga.steps, *saga.after_undo))
    named = {step.queue for step in steps} | {subscription.queue for subscription in registry.subscriptions()}
    return sorted(named | {ENGINE_QUEUE, RELAY_QUEUE})


def ask(*, now: datetime) -> list[str]:
    """Note which queues are asked, and return them; called by a worker of the engine's queue, which is its answer.

    Transaction: a statement each.
    """
    answered(ENGINE_QUEUE, now=now)
    open_ = Heartbeat.objects.filter(asked_at__gt=now - _ASK_AGAIN_AFTER).values_list("queue", flat=True)
    asked = sorted({*queues()} - {ENGINE_QUEUE, RELAY_QUEUE, *open_})
    # A queue that was never asked before counts as served until now.
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
    """Return the queues that no worker serves any more, each with the last sign of life; one statement."""
    found = Heartbeat.objects.filter(queue__in=queues(), alive_at__lt=now - SILENT_AFTER)
    return dict(found.values_list("queue", "alive_at").order_by("queue"))


def last_signs() -> dict[str, datetime]:
    """Return when each queue last gave a sign of life; one statement."""
    return dict(Heartbeat.objects.values_list("queue", "alive_at"))
