"""The edge to Celery: messages in, messages out. A message is a wake-up with ids in it (rule 1).

One task name a step (`inventory.reserve_stock`), so that each context is its own queue; they all do the same thing.
Chains carry a run from step to step, error callbacks turn it back. Both only speed up what the sweep would do.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

import structlog
from celery import Signature, Task, chain, current_app, shared_task
from celery.exceptions import Ignore
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from . import deliveries, engine, registry, undo
from .deliveries import DeliveryWakeUp
from .errors import StepFailed
from .plans import WakeUp
from .relay import relay as relay_once
from .sweep import sweep as sweep_once

logger = structlog.get_logger(__name__)

#: Most seconds one relay message works on a backlog; the next beat goes on with it.
_RELAY_SECONDS = 5.0
#: How long a relay at work lets the sweep wait.
_SWEEP_SECONDS = 1.0
_swept_at = 0.0
#: A PostgreSQL that was killed is back within seconds; with the last try the work stays within its time limit.
_OUTAGE_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)

T = TypeVar("T")


# Messages out ----------------------------------------------------------------------------------------------------


def send(wake_ups: Sequence[WakeUp] = (), owed: Sequence[DeliveryWakeUp] = ()) -> None:
    """Publish chains and deliveries in one batch. What cannot be published is sent by the sweep.

    Transaction: to be called after the commit of what the messages speak of.
    """
    if not wake_ups and not owed:
        return
    try:
        pool: Any = current_app.producer_pool  # its stubs do not know batch() yet
        with pool.acquire(block=True, timeout=5) as producer, producer.batch(max_size=500):
            for wake_up in wake_ups:
                # apply_async of a chain would drop the producer, so the chain is laid out here.
                steps = _chain_of(wake_up)
                tasks, _ = steps.prepare_steps(
                    (), {}, steps.tasks, link_error=steps.options.get("link_error"), app=current_app
                )
                tasks.pop().apply_async(chain=tasks or None, producer=producer, retry=False)
            for delivery in owed:
                _message(delivery.task, delivery.queue, list(delivery.delivery_ids)).apply_async(
                    producer=producer, retry=False
                )
    except Exception as error:  # noqa: BLE001 - whatever the broker says: the rows stand, the sweep sends them
        logger.warning("not_published", error=str(error), chains=len(wake_ups), deliveries=len(owed))


def _chain_of(wake_up: WakeUp) -> Any:
    ids = [str(run_id) for run_id in wake_up.run_ids]
    steps = chain(*(_message(task.name, task.queue, ids, task.place, wake_up.epoch) for task in wake_up.tasks))
    callback = "sagas.hand_over" if wake_up.compensating else "sagas.compensate"
    return steps.on_error(_message(callback, "sagas", ids, wake_up.epoch))


def _message(name: str, queue: str, *args: Any) -> Signature[Any]:
    return current_app.signature(name, args=args, immutable=True).set(queue=queue)


# Messages in -----------------------------------------------------------------------------------------------------


def register_tasks() -> None:
    """Make a Celery task of every step, undo and subscription in the registry."""
    for saga in registry.sagas():
        for step in (*saga.steps, *saga.undone):
            shared_task(name=step.task, bind=True, throws=(StepFailed,))(_step)
            if step.undo is not None:
                shared_task(name=step.undo_task, bind=True, throws=(StepFailed,))(_step)
    for subscription in registry.subscriptions():
        shared_task(name=subscription.task)(_deliver)


def _step(self: Task[Any, Any], run_ids: list[str], place: int, epoch: int) -> None:
    """Take runs one step on; end the chain quietly where nothing is left to carry on."""
    given_out_before = bool(self.request.delivery_info and self.request.delivery_info.get("redelivered"))
    with _failing_alone(self):
        outcome = _through_an_outage(
            lambda again: engine.execute(
                run_ids=[UUID(run_id) for run_id in run_ids],
                place=place,
                epoch=epoch,
                clock=timezone.now,
                redelivered=given_out_before or again,
            )
        )
        send(outcome.alone)
        if outcome.failed is not None:
            raise outcome.failed
    if not outcome.carries_on:
        raise Ignore


@contextlib.contextmanager
def _failing_alone(task: Task[Any, Any]) -> Iterator[None]:
    """Store a result for the step that failed, not for those behind it, which never ran."""
    try:
        yield
    except Exception:
        task.request.chain = None
        raise


def _through_an_outage(work: Callable[[bool], T]) -> T:
    """Do work that is harmless when done again, and again while the database goes away; tell it whether it is again.

    A worker without its database can do nothing else. Failing instead, it would use up every message of its queues
    within seconds, and their runs would wait for the sweep.

    Raises:
        OperationalError, InterfaceError: the database did not come back in time.
    """
    again = False
    for pause_seconds in _OUTAGE_PAUSES_SECONDS:
        try:
            return work(again)
        except (OperationalError, InterfaceError) as error:
            logger.warning("database_away", error=str(error).strip(), pause_seconds=pause_seconds)
            connections.close_all()
            time.sleep(pause_seconds)
            again = True
    return work(again)


def _deliver(delivery_ids: list[int]) -> None:
    send(owed=_through_an_outage(lambda _: deliveries.deliver(delivery_ids=delivery_ids, clock=timezone.now)))


# bind=True: Celery runs an error callback of several parameters inside the failing process; a bound one is a message.
@shared_task(name="sagas.compensate", bind=True)
def compensate(self: Task[Any, Any], run_ids: list[str], epoch: int) -> None:  # noqa: ARG001
    """Error callback of a forward chain: turn back what the journal says has failed."""
    ids = [UUID(run_id) for run_id in run_ids]
    send(_through_an_outage(lambda _: undo.start_undo(run_ids=ids, epoch=epoch, now=timezone.now())))
    _through_an_outage(lambda _: undo.hand_over(run_ids=ids, epoch=epoch))


@shared_task(name="sagas.hand_over", bind=True)
def hand_over(self: Task[Any, Any], run_ids: list[str], epoch: int) -> None:  # noqa: ARG001
    """Error callback of an undo chain: what cannot be undone needs a person."""
    _through_an_outage(lambda _: undo.hand_over(run_ids=[UUID(run_id) for run_id in run_ids], epoch=epoch))


# Their messages expire where nobody takes them in time, each of which would be stored as a failure.
@shared_task(name="sagas.relay", store_errors_even_if_ignored=False)
def relay() -> None:
    """Take new events on until there are none, or the next beat takes over; sweep in between."""
    until = time.monotonic() + _RELAY_SECONDS
    while True:
        relayed = relay_once(now=timezone.now(), limit=settings.SAGAS_RELAY_LIMIT)
        send(relayed.wake_ups, relayed.deliveries)
        # Sweep and relay share a queue: a backlog of events must not hold up retries and recovery.
        if time.monotonic() - _swept_at > _SWEEP_SECONDS:
            sweep()
        if relayed.events < settings.SAGAS_RELAY_LIMIT or time.monotonic() > until:
            return


@shared_task(name="sagas.sweep", store_errors_even_if_ignored=False)
def sweep() -> None:
    """Send again whatever is due: runs, then deliveries, neither held up by the other's trouble."""
    global _swept_at  # noqa: PLW0603 - of this process
    _swept_at = time.monotonic()
    now, limit = timezone.now(), settings.SAGAS_RELAY_LIMIT
    try:
        send(sweep_once(now=now, limit=limit))
    finally:
        send(owed=deliveries.sweep_deliveries(now=now, limit=limit))


# Waking the relay ------------------------------------------------------------------------------------------------


class _Waker:
    """Tells the relay from a thread of its own, so that a commit never waits for the broker.

    Commits that come while one message is on its way share the next one. Best effort: beat wakes the relay anyway.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        self._wanted.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="wake-relay", daemon=True)
                    self._thread.start()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            with contextlib.suppress(Exception):
                relay.apply_async(queue="relay", expires=5, retry=False)


def _new_waker() -> None:
    global _waker  # noqa: PLW0603 - a forked process has no threads: it starts with a fresh one
    _waker = _Waker()


_waker = _Waker()
os.register_at_fork(after_in_child=_new_waker)


def wake_relay() -> None:
    _waker.wake()
