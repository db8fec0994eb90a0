"""What every step that is written for many calls must do: the same for many at once as for each alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications.models import Notification
from orders.events import OrderPlaced
from orders.models import Order
from payments.credit import open_credit
from sagas.core import registry
from sagas.core.cause import Cause, caused_by_each
from sagas.core.errors import Rejected
from sagas.core.ids import new_id
from sagas.core.outcomes import only
from sagas.core.saga import Call, Result, Step
from sagas.core.subscription import Received
from sagas.models import Event
from shop.processes.fulfil_order import fulfil_order
from tests.factories.orders import Place

STEPS = [step for step in fulfil_order.steps if step.run_many is not None]
SUBSCRIPTIONS = [subscription for subscription in registry.subscriptions() if subscription.react_many is not None]
#: What a step leaves behind: the tables of the contexts, and what they tell of.
TABLES = [
    model
    for context in ("orders", "inventory", "payments", "notifications")
    for model in apps.get_app_config(context).get_models()
]
#: Differs from one time to the next.
VARIES = {"id", "order_id", "key", "number", "customer_email", "tracking_number", "provider_reference", "context"}
VARIES |= {"calls", "payment_id", "notification_id", "idempotency_key"}


@pytest.fixture(params=STEPS, ids=lambda step: step.name)
def step(request: pytest.FixtureRequest) -> Step:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def calls(step: Step, place: Place) -> Callable[[int], list[Call[OrderPlaced]]]:
    """Bring orders to the step, one by one; return what it is called with."""
    open_credit(customer_email="ada@example.com", limit_minor=10**9, currency="GBP")

    def calls(count: int) -> list[Call[OrderPlaced]]:
        placed = [place("invoice" if step.name == "hold-credit" else "tok_visa") for _ in range(count)]
        return [_brought_to(step, order) for order in placed]

    return calls


def _brought_to(step: Step, order: Order) -> Call[OrderPlaced]:
    placed = OrderPlaced.read(Event.objects.get(type=OrderPlaced.type, key=order.id).data, version=1)
    run_id = new_id()
    results: dict[str, Any] = {}
    for earlier in fulfil_order.steps:
        call = Call(
            id=run_id,
            key=str(order.id),
            step=earlier.name,
            idempotency_key=f"{run_id}:{earlier.name}",
            input=placed,
            results=results,
            attempt=1,
            now=timezone.now(),
        )
        if earlier is step:
            return call
        if earlier.when is None or earlier.when(placed):
            results[earlier.name] = alone(earlier, call)
    raise LookupError(step.name)


def alone(step: Step, call: Call[Any]) -> Result:
    """Take the step for one call; raise what it fails with."""
    return only(together(step, [call]))


def together(step: Step, calls: Sequence[Call[Any]]) -> Mapping[UUID, Result | Exception]:
    """Call the step as the engine does: inside in a transaction, outside in none."""
    causes = {call.key: Cause(correlation_id=call.id) for call in calls}
    with caused_by_each(causes), nullcontext() if step.outside else transaction.atomic():
        if step.run_many is not None:
            return step.run_many(calls)
        assert step.run is not None
        return {call.id: step.run(call) or {} for call in calls}


def standing() -> dict[str, list[Any]]:
    """Return everything a step may have written, without what differs from one time to the next."""
    found: dict[str, list[Any]] = {
        model.__name__: sorted(str(_plain(row)) for row in model._default_manager.values()) for model in TABLES
    }
    found["events"] = sorted(
        # An account outlives orders: its events count on.
        str((event.type, event.aggregate, _plain(event.data), event.sequence * (event.aggregate != "credit_account")))
        for event in Event.objects.all()
    )
    return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in VARIES and not name.endswith("_at")}


def test_it_does_the_same(step: Step, calls: Callable[[int], list[Call[Any]]]) -> None:
    """Three alone, then three together: what is added, and what is handed on, is the same."""
    one_by_one, at_once = calls(3), calls(3)
    before = standing()
    handed_on = [alone(step, call) for call in one_by_one]
    between = standing()
    results = together(step, at_once)
    after = standing()
    assert set(results) == {call.id for call in at_once}
    assert [_without_ids(results[call.id]) for call in at_once] == [_without_ids(given) for given in handed_on]
    for table in before:
        added = [_added(before[table], between[table]), _added(between[table], after[table])]
        if table not in ("StockItem", "CreditAccount"):  # they count on
            assert added[0] == added[1], table


def _without_ids(result: Result | Exception) -> Any:
    assert not isinstance(result, Exception)
    return None if result is None else _plain(result)


def _added(before: list[str], after: list[str]) -> list[str]:
    left = list(before)
    return [row for row in after if row not in left or left.remove(row)]  # type: ignore[func-returns-value]


def test_a_repeat_has_the_outcome_of_the_first_try_and_nothing_happens_again(
    step: Step, calls: Callable[[int], list[Call[Any]]]
) -> None:
    done, new = calls(1), calls(2)
    first = alone(step, done[0])
    results = together(step, [*done, *new])
    if not step.outside:  # a batch outside waits for no provider: a key that was charged before is asked about alone
        assert results[done[0].id] == first
    assert {call.id for call in new} <= set(results)
    stands = standing()
    again = together(step, [*done, *new])
    assert again == ({} if step.outside else results)
    assert standing() == stands


def test_who_is_done_in_a_batch_and_tries_again_alone_gets_the_same(
    step: Step, calls: Callable[[int], list[Call[Any]]]
) -> None:
    asked = calls(2)
    results = together(step, asked)
    stands = standing()
    for call in asked:
        assert alone(step, call) == results[call.id]
    assert standing() == stands


def test_each_event_belongs_to_its_own_run(step: Step, calls: Callable[[int], list[Call[Any]]]) -> None:
    asked = calls(3)
    last = Event.objects.latest("position").position
    together(step, asked)
    for call in asked:
        assert set(Event.objects.filter(position__gt=last, key=call.key).values_list("correlation_id", flat=True)) == {
            call.id
        }


def test_it_costs_as_many_statements_for_thirty_as_for_two(step: Step, calls: Callable[[int], list[Call[Any]]]) -> None:
    counts = []
    for number in (2, 30):
        asked = calls(number)
        with CaptureQueriesContext(connection) as statements:
            assert len(together(step, asked)) == number
        counts.append(len(statements))
    assert counts[0] == counts[1], counts


@pytest.mark.parametrize("step", [step for step in STEPS if step.name != "notify-customer"], indirect=True)
def test_a_refusal_is_an_outcome_and_the_others_get_theirs(step: Step, calls: Callable[[int], list[Call[Any]]]) -> None:
    """Whatever can be wrong with an order at this step is wrong with one of them."""
    good, bad = calls(2), calls(1)
    spoil(step, bad[0])
    outcomes = together(step, [good[0], bad[0], good[1]])
    assert [isinstance(outcomes[call.id], Rejected) for call in (good[0], bad[0], good[1])] == [False, True, False]
    with pytest.raises(Rejected):
        alone(step, bad[0])


def spoil(step: Step, call: Call[OrderPlaced]) -> None:
    """Make the step refuse an order."""
    order = call.input
    match step.name:
        case "reserve-stock":
            object.__setattr__(order.lines[0], "quantity", 10_000)
        case "hold-credit":
            object.__setattr__(order, "total_minor", 10**10)
        case "capture-payment":
            object.__setattr__(order, "payment_method", "tok_chargeDeclined")
        case "book-shipment":
            apps.get_model("inventory", "Reservation").objects.filter(order_id=order.order_id).delete()
        case "confirm-order":
            Order.objects.filter(id=order.order_id).update(status="cancelled", decided_at=timezone.now())


def test_messages_are_sent_together_once(place: Place, mailoutbox: list[Any]) -> None:
    (notify,) = [step for step in STEPS if step.name == "notify-customer"]
    for _ in range(3):
        alone(notify, _brought_to(notify, place()))
    (subscription,) = SUBSCRIPTIONS
    received = [
        Received(
            event=subscription.events[event.type].read(event.data, version=event.version),
            event_id=event.id,
            stored=event,
            idempotency_key="k",
            attempt=1,
            now=timezone.now(),
        )
        for event in Event.objects.filter(type__in=subscription.events)
    ]
    assert subscription.react_many is not None
    for _ in range(2):
        with caused_by_each({each.event.key: Cause() for each in received}):
            assert set(subscription.react_many(received)) == {each.event_id for each in received}
        assert len(mailoutbox) == 3
        assert list(Notification.objects.values_list("status", flat=True)) == ["sent"] * 3
        assert Event.objects.filter(type="notifications.notification_sent").count() == 3
