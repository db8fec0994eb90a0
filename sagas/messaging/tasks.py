"""Messages in: what a worker does with each message.

One task name a step (`inventory.reserve_stock`), so that each context has its own queue; they all do the same thing.
Chains carry a run from step to step, error callbacks turn it back. Both only speed up what the sweep would do.
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

#: Most seconds one message of the relay, of read models, of the reconciliation works on a backlog; the next beat goes
#: on with it.
_BACKLOG_SECONDS = 5.0
#: Most batches one turn of the relay makes: enough for the hands of some workers until it looks again.
_RELAY_BATCHES = 5
#: Most seconds one message works on a batch of interventions; well below Celery's limit, which kills.
_BATCH_SECONDS = 10.0
#: How long a relay at work lets the sweep wait.
_SWEEP_SECONDS = 1.0
#: How often the sweep, which turns each second, gives a sign of life.
_SIGN_SECONDS = 5.0


@dataclass
class _Process:
    """What this process remembers from one message to the next."""

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


def _step(self: Task[Any, Any], run_ids: list[str], place: int, epoch: int) -> None:
    """Take runs one step on; end the chain quietly where nothing is left to carry on."""
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
    """Error callback of every chain: start the undo, or hand over what failed behind its pivot."""
    ids = [UUID(run_id) for run_id in run_ids]
    through_an_outage(lambda _: _handling.after_failure(ids, epoch))


# The relay and the sweep ---------------------------------------------------------------------------------------------
# Their messages come every second: without `store_errors_even_if_ignored=False` an outage would be stored as often.


@shared_task(name="sagas.relay", store_errors_even_if_ignored=False)
def relay() -> None:
    """Take new events on until there are none, or the next beat takes over; sweep in between."""
    until = time.monotonic() + _BACKLOG_SECONDS
    _clear_pile()
    while relay_turn().more and time.monotonic() < until:
        pass


def relay_turn(find_new: FindNew = new_events) -> Relayed:
    """Make one turn of the relay, send what it wakes, and sweep if that was a second ago.

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
    """Return how many events one turn of the relay takes at most."""
    return min(conf.RELAY_LIMIT, _RELAY_BATCHES * conf.BATCH_SIZE)


@shared_task(name="sagas.sweep", store_errors_even_if_ignored=False)
def sweep() -> None:
    """Give a sign of life; send again what is due, and do what people asked for."""
    _process.swept_at = time.monotonic()
    _clear_pile()
    _give_sign()
    _handling.sweep()


def _clear_pile() -> None:
    """In a process's first turn, drop the messages that piled up while there was no relay: one turn serves them all."""
    if _process.pile_is_gone:
        return
    _process.pile_is_gone = True
    with contextlib.suppress(Exception), current_app.connection_for_write() as connection:
        channel: Any = connection.default_channel  # its stubs leave most of it out
        channel.queue_purge(RELAY_QUEUE)


# What people asked for -----------------------------------------------------------------------------------------------


@shared_task(name="sagas.intervene")
def intervene(batch: str) -> None:
    """Do what people asked for, portion by portion; what is left when a process dies, the sweep does."""
    until = time.monotonic() + _BATCH_SECONDS
    while work_on_interventions(UUID(batch)):
        if time.monotonic() > until:
            work_on_batch(UUID(batch))
            return


def work_on_batch(batch: UUID) -> None:
    """Have a worker do a batch; without a broker the sweep does it."""
    with contextlib.suppress(Exception):
        intervene.apply_async((str(batch),), queue=ENGINE_QUEUE, retry=False)


def work_on_interventions(batch: UUID | None = None) -> int:
    """Do a portion of what people asked for; return how many interventions and replayed events there were."""
    return _handling.work_on_interventions(batch)


# Signs of life -------------------------------------------------------------------------------------------------------


def _give_sign() -> None:
    """Note that relay and sweep are served, by a worker or by a process of their own."""
    if time.monotonic() - _process.signed_at > _SIGN_SECONDS:
        heartbeats.answered(RELAY_QUEUE, now=clock.now())
        _process.signed_at = time.monotonic()


@shared_task(name="sagas.ask_workers", store_errors_even_if_ignored=False)
def ask_workers() -> None:
    """Send a question to every queue; the worker that takes it shows that the queue is served."""
    for queue in heartbeats.ask(now=clock.now()):
        answer.apply_async((queue,), queue=queue, retry=False)


@shared_task(name="sagas.answer", store_errors_even_if_ignored=False)
def answer(queue: str) -> None:
    heartbeats.answered(queue, now=clock.now())


# Read models and the books -------------------------------------------------------------------------------------------


@shared_task(name="sagas.follow", store_errors_even_if_ignored=False)
def follow() -> None:
    """Take read models on until they are at the end of the log, or the next beat takes over."""
    until = time.monotonic() + _BACKLOG_SECONDS
    while read_models.follow(now=clock.now()) and time.monotonic() < until:
        pass


# On the queue of the error callbacks: a turn that takes long holds up neither relay nor sweep, and it goes on, to say
# so, when those have stopped.
@shared_task(name="sagas.reconcile", store_errors_even_if_ignored=False)
def reconcile() -> None:
    """Make turns until they have caught up with the event log, or the next beat takes over.

    Messages that piled up while there was no worker ask for the turn that the first of them makes.
    """
    ago_seconds = queries.reconciled_seconds_ago(now=clock.now())
    if ago_seconds is not None and ago_seconds < conf.RECONCILE_SECONDS / 2:
        return
    until = time.monotonic() + _BACKLOG_SECONDS
    more = True
    while more and time.monotonic() < until:
        more = reconciliation.reconcile(now=clock.now(), checks=registry.checks(), walks=registry.walks()).more
