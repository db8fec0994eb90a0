"""The order process as choreography: reactions to events, without a saga that coordinates them.

It uses the steps of the saga; their idempotency keys are `<order id>:<step>`. The table at the end has what the engine
takes from a saga's plan: the event before each step, the consequences when a step gives up, the undo.
docs/coordination.md compares the two.

An order that has a run belongs to the saga and is ignored here, so the setting can be changed while orders are open.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from inventory import services as inventory
from inventory.events import ShipmentBooked, ShipmentRefused, StockRefused, StockReleased, StockReserved
from orders.events import OrderConfirmed, OrderPlaced, OrderRejected
from payments import services as payments
from payments.events import CreditHeld, PaymentCaptured, PaymentFailed, PaymentReleased
from sagas.core.errors import FailureKind
from sagas.core.events import DomainEvent
from sagas.core.saga import Call, Failure, Step
from sagas.core.subscription import Received, Subscription
from sagas.operations import queries

from .fulfil_order import fulfil_order, reason_of

Events = type[DomainEvent] | tuple[type[DomainEvent], ...]
#: Keys → results of earlier steps, by key and name of the step.
ResultsByKey = Callable[[Collection[str]], Mapping[str, Mapping[str, Any]]]
Reason = Callable[[Received[Any]], str]

step = fulfil_order.step


@dataclass(frozen=True, kw_only=True)
class Choreography:
    """A process as reactions.

    Attributes:
        begins: the reaction that starts it.
        reactions: the reactions that continue it.
    """

    begins: Subscription
    reactions: tuple[Subscription, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in (self.begins, *self.reactions))


def reaction(
    taken: Step,
    *,
    on: Events,
    name: str = "",
    on_give_up: Callable[[Received[Any], Failure], None] | None = None,
    why: Reason | None = None,
    results: ResultsByKey = lambda _: {},
) -> Subscription:
    """Execute a step of the saga when one of these events happens.

    Args:
        on_give_up: publishes what other contexts need to know when the step cannot be done.
        why: returns the reason for the customer, for a step after a refusal.
        results: returns the results of earlier steps.
    """

    def react_many(received: Sequence[Received[Any]]) -> dict[UUID, object]:
        calls = _calls(taken, received, why, results)
        outcomes: dict[UUID, object] = dict.fromkeys({each.event_id for each in received} - {call.id for call in calls})
        for call in calls:
            # An earlier try may have taken effect although no answer came.
            if call.attempt > 1 and taken.probe is not None and (found := taken.probe(call)) is not None:
                outcomes[call.id] = found
        left = [call for call in calls if call.id not in outcomes]
        if not left:
            return outcomes
        if taken.run_many is not None:
            return outcomes | dict(taken.run_many(left))
        assert taken.run is not None  # noqa: S101 - a step has one of the two
        return outcomes | {call.id: taken.run(call) for call in left}

    def react(received: Received[Any]) -> None:
        react_many([received])

    together = taken.run_many is not None
    return Subscription(
        name or f"then-{taken.name}",
        event=on,
        queue=taken.queue,
        react=None if together else react,
        react_many=react_many if together else None,
        on_give_up=on_give_up,
        outside=taken.outside,
        retry=taken.retry,
        lease=taken.lease,
    )


def undo_reaction(
    *undone: Step, on: Events, name: str = "", then: Callable[[Received[Any]], None] | None = None
) -> Subscription:
    """Undo steps of the saga, those that apply to the order, when one of these events happens.

    Args:
        then: publishes the outcome for other contexts.
    """
    last = undone[-1]

    def react(received: Received[Any]) -> None:
        for one in undone:
            for call in _calls(one, [received]):
                if one.undo is not None:
                    one.undo(call)
        if then is not None and received.event.key not in queries.runs([received.event.key]):
            then(received)

    return Subscription(
        name or f"then-{last.undo_name}",
        event=on,
        queue=last.queue,
        react=react,
        outside=last.outside,
        retry=last.undo_retry,
        lease=last.lease,
    )


def _calls(
    taken: Step, received: Sequence[Received[Any]], why: Reason | None = None, results: ResultsByKey = lambda _: {}
) -> list[Call[OrderPlaced]]:
    """Return the step's calls for the orders that have no run and to which the step applies."""
    keys = {each.event.key for each in received}
    placed, has_run, handed_on = queries.latest_events(keys, OrderPlaced), queries.runs(keys), results(keys)
    return [
        Call(
            id=each.event_id,
            key=each.event.key,
            step=taken.name,
            idempotency_key=f"{each.event.key}:{taken.name}",
            input=order,
            results=handed_on.get(each.event.key, {}),
            attempt=each.attempt,
            now=each.now,
            failure=None if why is None else Failure(step="", kind=FailureKind.REJECTED, error="", message=why(each)),
        )
        for each in received
        if (order := placed.get(each.event.key)) is not None
        and each.event.key not in has_run
        and (taken.when is None or taken.when(order))
    ]


# Consequences when a step gives up ------------------------------------------------------------------------------------


def refuse_stock(received: Received[OrderPlaced], failure: Failure) -> None:
    inventory.refuse(order_id=received.event.order_id, reason=reason_of(failure), now=received.now)


def give_up_payment(received: Received[StockReserved], failure: Failure) -> None:
    payments.give_up(order_id=received.event.order_id, reason=reason_of(failure), now=received.now)


def refuse_shipment(received: Received[Any], failure: Failure) -> None:
    inventory.refuse_shipment(order_id=received.event.order_id, reason=reason_of(failure), now=received.now)


def reason_published(received: Received[Any]) -> str:
    """Return why it failed: the reason of the first event that has one."""
    if isinstance(received.event, StockRefused | OrderRejected):
        return str(received.event.reason)
    key = received.event.key
    if failed := queries.latest_events([key], PaymentFailed):
        return failed[key].reason
    refused = queries.latest_events([key], ShipmentRefused)
    return refused[key].reason if refused else reason_of(None)


def parcel(keys: Collection[str]) -> dict[str, dict[str, Any]]:
    booked = queries.latest_events(keys, ShipmentBooked)
    return {key: {"book-shipment": {"tracking_number": event.tracking_number}} for key, event in booked.items()}


def payment_released(received: Received[Any]) -> None:
    payments.tell_released(order_id=received.event.order_id, now=received.now)


fulfil_order_by_events = Choreography(
    # orders.order_placed →
    begins=reaction(step("reserve-stock"), on=OrderPlaced, name=f"start-{fulfil_order.name}", on_give_up=refuse_stock),
    reactions=(
        # inventory.stock_reserved →
        reaction(step("hold-credit"), on=StockReserved, on_give_up=give_up_payment),
        reaction(step("capture-payment"), on=StockReserved, on_give_up=give_up_payment),
        # payments.payment_captured, payments.credit_held →
        reaction(step("book-shipment"), on=(PaymentCaptured, CreditHeld), on_give_up=refuse_shipment),
        # inventory.shipment_booked →
        reaction(step("confirm-order"), on=ShipmentBooked),
        # orders.order_confirmed →
        reaction(step("notify-customer"), on=OrderConfirmed, results=parcel),
        # The undo: payments.payment_failed, inventory.shipment_refused →
        undo_reaction(
            step("hold-credit"),
            step("capture-payment"),
            on=(PaymentFailed, ShipmentRefused),
            name="then-release-payment",
            then=payment_released,
        ),
        # payments.payment_released →
        undo_reaction(step("reserve-stock"), on=PaymentReleased),
        # inventory.stock_released, inventory.stock_refused →
        reaction(step("close-order"), on=(StockRefused, StockReleased), why=reason_published),
        # orders.order_rejected →
        reaction(step("tell-customer"), on=OrderRejected, why=reason_published),
    ),
)
