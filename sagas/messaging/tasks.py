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

from ..books.reconciliation import reconcile as reconcile_once
from ..core import registry
from ..core.errors import StepFailed
from ..db import clock
from ..engine import deliveries, steps
from ..engine.sweep import sweep_runs as sweep_once
from ..engine.undo import hand_over as hand_over_runs
from ..engine.undo import start_undo
from ..engine.wake_ups import DeliveryWakeUp, WakeUp
from ..log import read_models
from ..log.relay import Relayed, Waiting, waiting
from ..log.relay import relay_events as relay_once
from ..operations import interventions, queries, replays

logger = structlog.get_logger(__name__)

#: Most seconds one relay message works on a backlog; the next beat goes on with it.
_RELAY_SECONDS = 5.0
#: Most batches one turn of the relay makes: enough for the hands of some workers until it looks again.
_RELAY_BATCHES = 5
#: Most seconds one message works on a batch of interventions; well below Celery's limit, which kills.
_BATCH_SECONDS = 10.0
#: How long a relay at work lets the sweep wait.
_SWEEP_SECONDS = 1.0
_swept_at = 0.0
#: Most seconds one message works on read models that are behind.
_FOLLOW_SECONDS = 5.0
#: Most seconds one message of the reconciliation works on a backlog.
_RECONCILE_SECONDS = 5.0
_RELAY_QUEUE = "relay"
#: For so long after a turn of the relay that had something to do, the next ones look for room first.
_BUSY_SECONDS = 1.0
_busy_until = 0.0
#: Most seconds it waits until every message is in a worker's hand.
_ROOM_SECONDS = 1.0
_LOOK_SECONDS = 0.02
_pile_is_gone = False
#: A PostgreSQL that was killed is back within seconds, on a busy machine within some more; with the last try the work
#: stays within its time limit.
_OUTAGE_SECONDS = 25.0
_LONGEST_PAUSE_SECONDS = 3.2

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
                ids, priority = list(delivery.delivery_ids), _priority_of(delivery)
                message = _message(delivery.task, delivery.queue, ids, priority=priority)
                message.apply_async(producer=producer, retry=False)
    except Exception as error:  # noqa: BLE001 - whatever the broker says: the rows stand, the sweep sends them
        logger.warning("not_published", error=str(error), chains=len(wake_ups), deliveries=len(owed))


def _chain_of(wake_up: WakeUp) -> Any:
    ids, priority = [str(run_id) for run_id in wake_up.run_ids], _priority_of(wake_up)
    steps = chain(
        *(_message(task.name, task.queue, ids, task.place, wake_up.epoch, priority=priority) for task in wake_up.tasks)
    )
    callback = "sagas.hand_over" if wake_up.undoing else "sagas.undo"
    return steps.on_error(_message(callback, "sagas", ids, wake_up.epoch))


def _priority_of(wake_up: WakeUp | DeliveryWakeUp) -> int:
    if wake_up.low_priority:
        return settings.SAGAS_LOW_PRIORITY
    return settings.SAGAS_SINGLE_PRIORITY if wake_up.single else 0


def _message(name: str, queue: str, *args: Any, priority: int = 0) -> Signature[Any]:
    # A text of hundreds of ids would be made for each message, for monitors; we have the journal.
    shown = f"({len(args[0])} at once)"
    options: dict[str, Any] = {"queue": queue, "argsrepr": shown, "kwargsrepr": "{}"}
    if priority:
        options["priority"] = priority
    return current_app.signature(name, args=args, immutable=True).set(**options)


# Messages in -----------------------------------------------------------------------------------------------------


def register_tasks() -> None:
    """Make a Celery task of every step, undo and subscription in the registry."""
    for saga in registry.sagas():
        for step in (*saga.steps, *saga.after_undo):
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
            lambda again: steps.execute(
                run_ids=[UUID(run_id) for run_id in run_ids],
                place=place,
                epoch=epoch,
                clock=clock.now,
                redelivered=given_out_before or again,
            )
        )
        send(outcome.wake_ups)
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
    until, pause_seconds, again = time.monotonic() + _OUTAGE_SECONDS, 0.1, False
    while True:
        try:
            return work(again)
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() + pause_seconds > until:
                raise
            logger.warning("database_away", error=str(error).strip(), pause_seconds=pause_seconds)
            connections.close_all()
            time.sleep(pause_seconds)
            pause_seconds, again = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS), True


def _deliver(delivery_ids: list[int]) -> None:
    send(owed=_through_an_outage(lambda _: deliveries.deliver(delivery_ids=delivery_ids, clock=clock.now)))


# bind=True: Celery runs an error callback of several parameters inside the failing process; a bound one is a message.
@shared_task(name="sagas.undo", bind=True)
def undo(self: Task[Any, Any], run_ids: list[str], epoch: int) -> None:  # noqa: ARG001
    """Error callback of a forward chain: turn back what the journal says has failed."""
    ids = [UUID(run_id) for run_id in run_ids]
    send(_through_an_outage(lambda _: start_undo(run_ids=ids, epoch=epoch, now=clock.now())))
    _through_an_outage(lambda _: hand_over_runs(run_ids=ids, epoch=epoch, now=clock.now()))


@shared_task(name="sagas.hand_over", bind=True)
def hand_over(self: Task[Any, Any], run_ids: list[str], epoch: int) -> None:  # noqa: ARG001
    """Error callback of an undo chain: what cannot be undone needs a person."""
    _through_an_outage(
        lambda _: hand_over_runs(run_ids=[UUID(run_id) for run_id in run_ids], epoch=epoch, now=clock.now())
    )


# They come every second: an outage would be stored as many times over.
@shared_task(name="sagas.relay", store_errors_even_if_ignored=False)
def relay() -> None:
    """Take new events on until there are none, or the next beat takes over; sweep in between."""
    until = time.monotonic() + _RELAY_SECONDS
    _clear_pile()
    while relay_turn().more and time.monotonic() < until:
        pass


def relay_turn(new: Waiting = waiting) -> Relayed:
    """Make one turn of the relay, send what it wakes, and sweep if that was a second ago.

    Transaction: opens its own.
    """
    global _busy_until  # noqa: PLW0603 - of this process
    relayed = relay_once(now=clock.now(), limit=turn_limit(), waiting=new, low_priority=_wait_for_room())
    send(relayed.wake_ups, relayed.deliveries)
    if relayed.wake_ups or relayed.deliveries:
        _busy_until = time.monotonic() + _BUSY_SECONDS
    # Sweep and relay share a queue: a backlog of events must not hold up retries and recovery.
    if time.monotonic() - _swept_at > _SWEEP_SECONDS:
        sweep()
    return relayed


def turn_limit() -> int:
    """Return how many events one turn of the relay takes at most."""
    return int(min(settings.SAGAS_RELAY_LIMIT, _RELAY_BATCHES * settings.SAGAS_BATCH_SIZE))


def _wait_for_room() -> bool:
    """Let the next batch grow while messages stand in line; say whether there is room for the bulk, too.

    So nothing waits at rest, and a backlog stands in the outbox, where the relay takes first what somebody waits for,
    instead of in queues, where the sweep would take it for lost. What somebody waits for does not wait for messages of
    the bulk, which it overtakes. A queue nobody serves holds up the others by a second a turn at most.
    """
    if time.monotonic() > _busy_until:
        return True
    until = time.monotonic() + _ROOM_SECONDS
    while time.monotonic() < until:
        first, behind = _messages_wait()
        if not first and not behind:
            return True
        if not first and queries.somebody_waits_for_the_relay():
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _messages_wait() -> tuple[bool, bool]:
    """Say whether a message stands in one of the queues the relay fills: one that is given out first, or another."""
    queues = {step.queue for saga in registry.sagas() for step in saga.steps}
    # Who waits for others, perhaps for hours, does not tell how busy our own hands are.
    queues |= {subscription.queue for subscription in registry.subscriptions() if not subscription.outside}
    with contextlib.suppress(Exception):  # whatever the broker says: then nobody waits
        pool: Any = current_app.producer_pool
        with pool.acquire(block=True, timeout=5) as producer:
            return _any_in(producer.channel, queues)
    return False, False


def _any_in(channel: Any, queues: set[str]) -> tuple[bool, bool]:
    if hasattr(channel, "priority_steps"):  # Redis: a list a queue and priority, there while something is in it
        steps = [f"{channel.sep}{step}" for step in channel.priority_steps if step]
        pipe = channel.client.pipeline(transaction=False)
        pipe.exists(*queues)
        pipe.exists(*(queue + step for queue in queues for step in steps))
        first, behind = pipe.execute()
        return bool(first), bool(behind)
    for queue in sorted(queues):
        with contextlib.suppress(*channel.connection.client.channel_errors):  # nobody has used it yet
            if channel.queue_declare(queue, passive=True).message_count:
                return True, False
    return False, False


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
        intervene.apply_async((str(batch),), queue="sagas", retry=False)


def work_on_interventions(batch: UUID | None = None) -> int:
    """Do a portion and send what it wakes; return how many were looked at."""
    worked = interventions.work(now=clock.now(), batch=batch)
    send(worked.wake_ups, worked.deliveries)
    replayed = replays.work(now=clock.now(), batch=batch)
    send(owed=replayed.deliveries)
    return worked.done + worked.refused + replayed.events


@shared_task(name="sagas.sweep", store_errors_even_if_ignored=False)
def sweep() -> None:
    """Send again whatever is due, and do what people asked for; none is held up by another's trouble."""
    global _swept_at  # noqa: PLW0603 - of this process
    _swept_at = time.monotonic()
    _clear_pile()
    now, limit = clock.now(), settings.SAGAS_RELAY_LIMIT
    with contextlib.ExitStack() as all_of_them:
        all_of_them.callback(work_on_interventions)
        all_of_them.callback(lambda: send(owed=deliveries.sweep_deliveries(now=now, limit=limit)))
        all_of_them.callback(lambda: send(sweep_once(now=now, limit=limit)))


@shared_task(name="sagas.follow", store_errors_even_if_ignored=False)
def follow() -> None:
    """Take read models on until they are at the end of the log, or the next beat takes over."""
    until = time.monotonic() + _FOLLOW_SECONDS
    while read_models.follow(now=clock.now()):
        if time.monotonic() > until:
            return


# On the queue of the error callbacks: a turn that takes long holds up neither relay nor sweep, and it goes on, to say
# so, when those have stopped.
@shared_task(name="sagas.reconcile", store_errors_even_if_ignored=False)
def reconcile() -> None:
    """Make turns until they have caught up with the event log, or the next beat takes over.

    Messages that piled up while nobody was there ask for the turn that the first of them makes.
    """
    ago_seconds = queries.reconciled_seconds_ago(now=clock.now())
    if ago_seconds is not None and ago_seconds < settings.SAGAS_RECONCILE_SECONDS / 2:
        return
    until = time.monotonic() + _RECONCILE_SECONDS
    while True:
        turn = reconcile_once(now=clock.now(), checks=registry.checks(), walks=registry.walks())
        if not turn.more or time.monotonic() > until:
            return


def _clear_pile() -> None:
    """In a process's first turn, drop what piled up while no relay was there: it asked for this one turn.

    Nothing in this queue expires, for that would be judged by clocks that may differ (decision 0010).
    """
    global _pile_is_gone  # noqa: PLW0603 - of this process
    if _pile_is_gone:
        return
    _pile_is_gone = True
    with contextlib.suppress(Exception), current_app.connection_for_write() as connection:
        channel: Any = connection.default_channel  # its stubs leave most of it out
        channel.queue_purge(_RELAY_QUEUE)


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
                relay.apply_async(queue=_RELAY_QUEUE, retry=False)


def _new_waker() -> None:
    global _waker  # noqa: PLW0603 - a forked process has no threads: it starts with a fresh one
    _waker = _Waker()


_waker = _Waker()
os.register_at_fork(after_in_child=_new_waker)


def wake_relay() -> None:
    _waker.wake()
