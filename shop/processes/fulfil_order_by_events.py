"""The same process as reactions only: nobody conducts it; what one context tells is what the next one begins on.

The steps are those of the saga, and so are the keys of their effects. What the saga's engine does by itself is written
down in `shop/wiring.py`, with what stands here: who begins on what, what follows when a step gives up, the way back.
docs/coordination.md lays the two side by side.

An order that has a run is the saga's: it is left alone, so that the setting can be changed while orders are under way.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from inventory import services as inventory
from inventory.events import ShipmentBooked, ShipmentRefused, StockRefused, StockReserved
from orders.events import OrderPlaced, OrderRejected
from payments import services as payments
from payments.events import PaymentFailed
from sagas.core.errors import FailureKind
from sagas.core.events import DomainEvent
from sagas.core.saga import Call, Failure, Step
from sagas.core.subscription import Received, Subscription
from sagas.operations import queries

from .fulfil_order import fulfil_order, reason_of

reserve, hold, capture, ship, confirm, notify = fulfil_order.steps
reject, tell = fulfil_order.after_undo

Events = type[DomainEvent] | tuple[type[DomainEvent], ...]
#: Keys → what earlier steps handed on, by key.
Results = Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]


def does(
    step: Step,
    *,
    on: Events,
    name: str = "",
    on_give_up: Callable[[Received[Any], Failure], None] | None = None,
    why: Callable[[Received[Any]], str] | None = None,
    results: Results = lambda _: {},
) -> Subscription:
    """Take a step of the saga when one of these events tells that it is its turn.

    Args:
        gave_up: tells what the others have to know when it cannot be done.
        why: the reason the customer reads, of a step that follows on a refusal.
        results: what the step finds of earlier ones.
    """

    def react(received: Received[Any]) -> None:
        for call in _calls(step, [received], why, results):
            # An earlier try may have taken effect without an answer.
            if step.probe is None or received.attempt == 1 or step.probe(call) is None:
                step.run(call)

    def react_to_many(received: Sequence[Received[Any]]) -> set[UUID]:
        assert step.many is not None  # noqa: S101 - only given where there is one
        calls = _calls(step, received, why, results)
        others = {each.event_id for each in received} - {call.id for call in calls}
        return others | set(step.many(calls) if calls else ())

    return Subscription(
        name or f"then-{step.name}",
        event=on,
        queue=step.queue,
        react=react,
        many=None if step.many is None else react_to_many,
        on_give_up=on_give_up,
        outside=step.outside,
        retry=step.retry,
        lease=step.lease,
    )


def undoes(step: Step, *, on: Events) -> Subscription:
    """Undo a step of the saga when one of these events tells that it is its turn."""

    def react(received: Received[Any]) -> None:
        _undo(received, step)

    return Subscription(
        f"then-{step.undo_name}",
        event=on,
        queue=step.queue,
        react=react,
        outside=step.outside,
        retry=step.undo_retry,
        lease=step.lease,
    )


def releases_payment(*, on: Events) -> Subscription:
    """Give back what was charged or kept back, however the order was to be paid, and tell that it is."""

    def react(received: Received[Any]) -> None:
        _undo(received, hold, capture)
        if received.event.key not in queries.runs([received.event.key]):
            payments.tell_released(order_id=received.event.order_id, now=received.now)

    return Subscription(
        "then-release-payment",
        event=on,
        queue=capture.queue,
        react=react,
        outside=True,
        retry=capture.undo_retry,
        lease=capture.lease,
    )


def _undo(received: Received[Any], *steps: Step) -> None:
    """Undo those of the steps that the order is meant for."""
    for step in steps:
        for call in _calls(step, [received]):
            if step.undo is not None:
                step.undo(call)


def _calls(
    step: Step,
    received: Sequence[Received[Any]],
    why: Callable[[Received[Any]], str] | None = None,
    results: Results = lambda _: {},
) -> list[Call[OrderPlaced]]:
    """Return what the step is called with, of the orders that are ours and that it is meant for."""
    keys = {each.event.key for each in received}
    placed, conducted, handed_on = queries.latest_events(keys, OrderPlaced), queries.runs(keys), results(keys)
    return [
        Call(
            run_id=each.event_id,
            key=each.event.key,
            step=step.name,
            idempotency_key=f"{each.event.key}:{step.name}",
            input=order,
            results=handed_on.get(each.event.key, {}),
            attempt=each.attempt,
            now=each.now,
            failure=None if why is None else Failure(step="", kind=FailureKind.REJECTED, error="", message=why(each)),
        )
        for each in received
        if (order := placed.get(each.event.key)) is not None
        and each.event.key not in conducted
        and (step.when is None or step.when(order))
    ]


# What follows when a step gives up ----------------------------------------------------------------------------------


def refuse_stock(received: Received[OrderPlaced], failure: Failure) -> None:
    inventory.refuse(order_id=received.event.order_id, reason=reason_of(failure), now=received.now)


def give_up_payment(received: Received[StockReserved], failure: Failure) -> None:
    payments.give_up(order_id=received.event.order_id, reason=reason_of(failure), now=received.now)


def refuse_shipment(received: Received[Any], failure: Failure) -> None:
    inventory.refuse_shipment(order_id=received.event.order_id, reason=reason_of(failure), now=received.now)


def reason_told(received: Received[Any]) -> str:
    """Return why it failed, as it was told first."""
    if isinstance(received.event, StockRefused | OrderRejected):
        return str(received.event.reason)
    key = received.event.key
    if failed := queries.latest_events([key], PaymentFailed):
        return failed[key].reason
    refused = queries.latest_events([key], ShipmentRefused)
    return refused[key].reason if refused else reason_of(None)


def parcel(keys: Collection[str]) -> dict[str, dict[str, Any]]:
    booked = queries.latest_events(keys, ShipmentBooked)
    return {key: {ship.name: {"tracking_number": event.tracking_number}} for key, event in booked.items()}
