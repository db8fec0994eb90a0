"""Messages in: the Celery tasks.

Each step has its own task name (`hotels.book_hotel`), so that each context has its own queue; all tasks do the
same. Chains move a run from step to step, error callbacks start its undo. Both only speed up what the sweep would do.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from celery import Celery, Task, current_app, shared_task
from celery._state import connect_on_app_finalize
from celery.exceptions import Ignore
from celery.signals import celeryd_after_setup

from ..books import reconciliation
from ..conf import ENGINE_QUEUE, RELAY_QUEUE, conf
from ..core import registry
from ..core.errors import StepFailed
from ..db import clock
from ..log import read_models
from ..log.relay import FindNew, Relayed, new_events
from ..operations import heartbeats, queries
from .handling import Handling
from .outages import through_an_outage
from .publish import send
from .room import Room

logger = structlog.get_logger(__name__)

#: Maximum seconds of one message of the relay, of read models or of the reconciliation on a backlog; the next message
#: of beat continues.
_BACKLOG_SECONDS = 5.0
#: Maximum number of batches in one turn of the relay: enough for several workers until the next turn.
_RELAY_BATCHES = 5
#: Maximum seconds of one message on a batch of interventions; well below Celery's limit, which kills the worker.
_BATCH_SECONDS = 10.0
#: Maximum seconds between two sweeps while the relay works.
_SWEEP_SECONDS = 1.0
#: Seconds between two signs of life of the sweep, which makes a turn each second.
_SIGN_SECONDS = 5.0


@dataclass
class _Process:
    """The state of this process between messages."""

    room: Room
    swept_at: float = 0.0
    signed_at: float = float("-inf")
    pile_is_gone: bool = False


_process = _Process(room=Room())
_handling = Handling(send=send, clock=clock.now)


# Steps and deliveries ------------------------------------------------------------------------------------------------


@connect_on_app_finalize
def register_tasks(app: Celery) -> None:
    """Make a Celery task of every step, undo and subscription in the registry.

    Celery calls this once all apps are ready, when it first looks for a task.
    """
    for saga in registry.sagas():
        for step in (*saga.steps, *saga.after_undo):
            app.task(name=step.task, bind=True, throws=(StepFailed,))(_step)
            if step.undo is not None:
                app.task(name=step.undo_task, bind=True, throws=(StepFailed,))(_step)
    for subscription in registry.subscriptions():
        app.task(name=subscription.task)(_deliver)


@celeryd_after_setup.connect
def register_late_tasks(instance: Any, **_: Any) -> None:
    """Make the tasks of subscriptions from modules of this worker alone (`celery worker -I`)."""
    # Celery imports those modules once its app is final.
    register_tasks(instance.app)


def _step(self: Task[Any, Any], run_ids: list[str], place: int, epoch: int) -> None:
    """Execute one step of runs; end the chain without an error if no run moved on."""
    given_out_before = bool(self.request.delivery_info and self.request.delivery_info.get("redelivered"))
    with _failing_alone(self):
        carries_on = through_an_outage(
            lambda again: _handling.take_step(
                [UUID(run_id) for run_id in run_ids], place, epoch, redelivered=given_out_before or again
            )
        )
    if not carries_on:
        raise Ignore


@contextlib.contextmanager
def _failing_alone(task: Task[Any, Any]) -> Iterator[None]:
    """Store a result for the step that failed, not for those behind it, which never ran."""
    try:
        yield
    except Exception:
        task.request.chain = None
        raise


def _deliver(delivery_ids: list[int]) -> None:
    through_an_outage(lambda _: _handling.deliver(delivery_ids))


# bind=True: Celery runs an error callback of several parameters inside the failing process; a bound one is a message.
@shared_task(name="sagas.undo", bind=True)
def undo(self: Task[Any, Any], run_ids: list[str], epoch: int) -> None:  # noqa: ARG001
    """Error callback of every chain: start the undo, or hand a run behind its pivot to a person."""
    ids = [UUID(run_id) for run_id in run_ids]
    through_an_outage(lambda _: _handling.after_failure(ids, epoch))


# The relay and the sweep ---------------------------------------------------------------------------------------------
# Their messages come every second: without `store_errors_even_if_ignored=False` an outage would be stored every second.


@shared_task(name="sagas.relay", store_errors_even_if_ignored=False)
def relay() -> None:
    """Relay new events until there are none, or until the next message of beat; sweep in between."""
    until = time.monotonic() + _BACKLOG_SECONDS
    _clear_pile()
    while relay_turn().more and time.monotonic() < until:
        pass


def relay_turn(find_new: FindNew = new_events) -> Relayed:
    """Make one turn of the relay, send its messages, and sweep if the last sweep was a second ago.

    Transaction: opens its own.
    """
    relayed = _handling.relay(limit=turn_limit(), find_new=find_new, low_priority=_process.room.wait())
    if relayed.wake_ups or relayed.deliveries:
        _process.room.note_sent()
    # Sweep and relay share a queue: a backlog of events must not hold up retries and recovery.
    if time.monotonic() - _process.swept_at > _SWEEP_SECONDS:
        sweep()
    return relayed


def turn_limit() -> int:
    """Return the maximum number of events in one turn of the relay."""
    return min(conf.RELAY_LIMIT, _RELAY_BATCHES * conf.BATCH_SIZE)


@shared_task(name="sagas.sweep", store_errors_even_if_ignored=False)
def sweep() -> None:
    """Give a sign of life; send again what is due, and execute interventions."""
    _process.swept_at = time.monotonic()
    _clear_pile()
    _give_sign()
    _handling.sweep()


def _clear_pile() -> None:
    """In the first turn of a process, drop messages that piled up without a relay: one turn serves them all."""
    if _process.pile_is_gone:
        return
    _process.pile_is_gone = True
    with contextlib.suppress(Exception), current_app.connection_for_write() as connection:
        channel: Any = connection.default_channel  # its stubs leave most of it out
        channel.queue_purge(RELAY_QUEUE)


# What people asked for -----------------------------------------------------------------------------------------------


@shared_task(name="sagas.intervene")
def intervene(batch: str) -> None:
    """Execute interventions, portion by portion; if the process dies, the sweep continues."""
    until = time.monotonic() + _BATCH_SECONDS
    while work_on_interventions(UUID(batch)):
        if time.monotonic() > until:
            work_on_batch(UUID(batch))
            return


def work_on_batch(batch: UUID) -> None:
    """Send the message for a batch; without a broker the sweep does the batch."""
    with contextlib.suppress(Exception):
        intervene.apply_async((str(batch),), queue=ENGINE_QUEUE, retry=False)


def work_on_interventions(batch: UUID | None = None) -> int:
    """Execute a portion of the interventions; return how many interventions and replayed events there were."""
    return _handling.work_on_interventions(batch)


# Signs of life -------------------------------------------------------------------------------------------------------


def _give_sign() -> None:
    """Note that relay and sweep are served, by a worker or by their own process, and ask the other queues."""
    if time.monotonic() - _process.signed_at > _SIGN_SECONDS:
        _process.signed_at = time.monotonic()
        _ask(RELAY_QUEUE)


@shared_task(name="sagas.ask_workers", store_errors_even_if_ignored=False)
def ask_workers() -> None:
    """Send a question to every other queue; the worker that takes it shows that the queue is served."""
    _ask(ENGINE_QUEUE)


def _ask(by: str) -> None:
    for queue in heartbeats.ask(by=by, now=clock.now()):
        with contextlib.suppress(Exception):  # without a broker no queue is served
            answer.apply_async((queue,), queue=queue, retry=False)


@shared_task(name="sagas.answer", store_errors_even_if_ignored=False)
def answer(queue: str) -> None:
    heartbeats.answered(queue, now=clock.now())


# Read models and the books -------------------------------------------------------------------------------------------


@shared_task(name="sagas.follow", store_errors_even_if_ignored=False)
def follow() -> None:
    """Update read models until they are at the end of the log, or until the next message of beat."""
    until = time.monotonic() + _BACKLOG_SECONDS
    while read_models.follow() and time.monotonic() < until:
        pass


# On the queue of the error callbacks: a long turn holds up neither relay nor sweep, and it still runs, and reports it,
# when those have stopped.
@shared_task(name="sagas.reconcile", store_errors_even_if_ignored=False)
def reconcile() -> None:
    """Make turns until they have caught up with the event log, or until the next message of beat.

    Messages that piled up while there was no worker are all served by the turn of the first one.
    """
    ago_seconds = queries.reconciled_seconds_ago(now=clock.now())
    if ago_seconds is not None and ago_seconds < conf.RECONCILE_SECONDS / 2:
        return
    until = time.monotonic() + _BACKLOG_SECONDS
    more = True
    while more and time.monotonic() < until:
        more = reconciliation.reconcile(now=clock.now(), checks=registry.checks(), walks=registry.walks()).more
