"""Messages out: turns chains and deliveries into Celery messages.

A message is a wake-up with ids. A lost or doubled message changes nothing: the sweep sends what is due.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from celery import Signature, chain, current_app

from ..conf import ENGINE_QUEUE, conf
from ..engine.wake_ups import DeliveryWakeUp, WakeUp

logger = structlog.get_logger(__name__)


def send(wake_ups: Sequence[WakeUp] = (), owed: Sequence[DeliveryWakeUp] = ()) -> None:
    """Publish chains and deliveries in one batch. What cannot be published is sent by the sweep.

    Transaction: to be called after the commit of the rows that the messages name.
    """
    if not wake_ups and not owed:
        return
    try:
        pool: Any = current_app.producer_pool  # its stubs do not know batch() yet
        with pool.acquire(block=True, timeout=5) as producer, producer.batch(max_size=500):
            for wake_up in wake_ups:
                # apply_async of a chain would drop the producer, so the chain is built here.
                steps = _chain_of(wake_up)
                tasks, _ = steps.prepare_steps(
                    (), {}, steps.tasks, link_error=steps.options.get("link_error"), app=current_app
                )
                tasks.pop().apply_async(chain=tasks or None, producer=producer, retry=False)
            for delivery in owed:
                ids, priority = list(delivery.delivery_ids), _priority_of(delivery)
                message = _message(delivery.task, delivery.queue, ids, priority=priority)
                message.apply_async(producer=producer, retry=False)
    except Exception as error:  # noqa: BLE001 - the rows are committed, and the sweep sends them
        logger.warning("not_published", error=str(error), chains=len(wake_ups), deliveries=len(owed))


def _chain_of(wake_up: WakeUp) -> Any:
    """Return a message for each step, in their order, and the error callback of all of them."""
    ids, priority = [str(run_id) for run_id in wake_up.run_ids], _priority_of(wake_up)
    steps = chain(
        *(_message(task.name, task.queue, ids, task.place, wake_up.epoch, priority=priority) for task in wake_up.tasks)
    )
    return steps.on_error(_message("sagas.undo", ENGINE_QUEUE, ids, wake_up.epoch))


def _priority_of(wake_up: WakeUp | DeliveryWakeUp) -> int:
    if wake_up.low_priority:
        return conf.LOW_PRIORITY
    return conf.SINGLE_PRIORITY if wake_up.single else 0


def _message(name: str, queue: str, *args: Any, priority: int = 0) -> Signature[Any]:
    # Celery would add hundreds of ids to each message, for monitors; the journal has them.
    shown = f"({len(args[0])} at once)"
    options: dict[str, Any] = {"queue": queue, "argsrepr": shown, "kwargsrepr": "{}"}
    if priority:
        options["priority"] = priority
    return current_app.signature(name, args=args, immutable=True).set(**options)
