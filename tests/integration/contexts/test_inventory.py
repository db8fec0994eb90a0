"""The warehouse on PostgreSQL: what is held, given back and sent always adds up, whoever comes at once."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory import selectors
from inventory import services as inventory
from inventory.errors import NothingReserved, OutOfStock, ReservationEnded, ReservedAlready
from inventory.models import Parcel, Reservation, StockItem
from sagas.models import Event
from tests import one
from tests.asking import emitted, shelf
from tests.concurrency import at_once
from tests.constraints import named
from tests.factories.stock import ParcelFactory, ReservationFactory, StockItemFactory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ORDER, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def stock(db: None) -> None:
    inventory.receive({"A": 10, "B": 10})


@pytest.fixture
def committed_stock(transactional_db: None) -> None:
    inventory.receive({"A": 10, "B": 10})


def key_of(order_id: UUID) -> str:
    return f"run of {order_id}:reserve-stock"


def reserve(order_id: UUID = ORDER, **quantities: int) -> list[Reservation]:
    return one.reserve(order_id=order_id, quantities=(quantities or {"A": 3}).items(), key=key_of(order_id), now=NOW)


def held() -> dict[str, tuple[int, str]]:
    return {row.sku: (row.quantity, row.status) for row in Reservation.objects.all()}


# reserve ---------------------------------------------------------------------------------------------------------


def test_stock_is_held_for_an_order(stock: None) -> None:
    reservations = reserve(A=3, B=1)
    assert [(row.sku, row.quantity, row.status, row.reserved_at, row.ended_at) for row in reservations] == [
        ("A", 3, "held", NOW, None),
        ("B", 1, "held", NOW, None),
    ]
    assert shelf() == {"A": (10, 3), "B": (10, 1)}
    event = Event.objects.get()
    assert (event.type, event.key, event.occurred_at) == ("inventory.stock_reserved", str(ORDER), NOW)
    assert event.data == {
        "order_id": str(ORDER),
        "lines": [{"sku": "A", "quantity": 3}, {"sku": "B", "quantity": 1}],
    }


def test_a_sku_that_stands_twice_is_held_once_for_both(stock: None) -> None:
    one.reserve(order_id=ORDER, quantities=[("A", 3), ("B", 1), ("A", 4)], key=key_of(ORDER), now=NOW)
    assert held() == {"A": (7, "held"), "B": (1, "held")}
    assert shelf() == {"A": (10, 7), "B": (10, 1)}


def test_a_sku_that_stands_twice_is_out_of_stock_by_its_sum(stock: None) -> None:
    with pytest.raises(OutOfStock) as refused:
        one.reserve(order_id=ORDER, quantities=[("A", 6), ("A", 5)], key=key_of(ORDER), now=NOW)
    assert str(refused.value) == "Only 10 of A are left, and you asked for 11."


def test_a_repeat_returns_what_is_held(stock: None) -> None:
    first = reserve(A=3)
    again = one.reserve(order_id=ORDER, quantities=[("A", 9)], key=key_of(ORDER), now=LATER)
    assert again == first
    assert (held(), shelf()["A"], emitted("inventory")) == ({"A": (3, "held")}, (10, 3), ["stock_reserved"])


def test_an_undo_gives_back_only_what_its_own_run_held(stock: None) -> None:
    def hold(key: str) -> None:
        one.reserve(order_id=ORDER, quantities=[("A", 3)], key=key, now=NOW)

    hold("first run")
    with pytest.raises(ReservedAlready):
        hold("second run")
    inventory.release(order_id=ORDER, key="second run", now=NOW)
    assert shelf()["A"] == (10, 3)
    inventory.release(order_id=ORDER, key="first run", now=NOW)
    hold("second run")
    inventory.release(order_id=ORDER, key="first run", now=NOW)
    assert shelf()["A"] == (10, 3)


def test_a_reserve_that_comes_after_the_release_takes_nothing(stock: None) -> None:
    reserve(A=3)
    inventory.release(order_id=ORDER, key=key_of(ORDER), now=NOW)
    with pytest.raises(ReservationEnded):
        reserve(A=3)
    assert (shelf()["A"], emitted("inventory")) == ((10, 0), ["stock_reserved", "stock_released"])


@pytest.mark.parametrize(
    ("quantities", "message", "facts"),
    [
        ({"A": 1, "B": 11}, "Only 10 of B are left, and you asked for 11.", ("B", 11, 10)),
        ({"A": 1, "GONE": 1}, "GONE is sold out.", ("GONE", 1, 0)),
    ],
)
def test_too_little_of_one_sku_holds_nothing_of_any(
    stock: None, quantities: dict[str, int], message: str, facts: tuple[str, int, int]
) -> None:
    with pytest.raises(OutOfStock) as refused:
        one.reserve(order_id=ORDER, quantities=quantities.items(), key=key_of(ORDER), now=NOW)
    assert str(refused.value) == message
    assert (refused.value.sku, refused.value.wanted, refused.value.available) == facts
    assert (held(), shelf(), emitted("inventory")) == ({}, {"A": (10, 0), "B": (10, 0)}, [])


def test_what_is_held_for_others_is_not_available(stock: None) -> None:
    reserve(OTHER, A=8)
    with pytest.raises(OutOfStock, match="Only 2 of A are left, and you asked for 3"):
        reserve(A=3)
    reserve(A=2)
    assert shelf()["A"] == (10, 10)


def _statements(of: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as captured:
        of()
    return len(captured)


def test_every_service_takes_as_many_statements_for_many_skus_as_for_one(committed_stock: None) -> None:
    many = {f"S{number}": 1 for number in range(40)}
    assert _statements(lambda: inventory.receive(many)) == _statements(lambda: inventory.receive({"S": 9})) == 1
    services: list[Callable[[UUID], object]] = [
        lambda order_id: inventory.release(order_id=order_id, key=key_of(order_id), now=NOW),
        lambda order_id: one.book_shipment(order_id=order_id, now=NOW),
    ]
    for end in services:
        one_order, many_order = uuid4(), uuid4()
        assert _statements(lambda: reserve(one_order, S=1)) == _statements(lambda: reserve(many_order, **many))  # noqa: B023
        assert _statements(lambda: end(one_order)) == _statements(lambda: end(many_order))  # noqa: B023


# release ---------------------------------------------------------------------------------------------------------


def test_what_was_held_is_free_again(stock: None) -> None:
    reserve(A=3, B=1)
    for now in (NOW, LATER):
        inventory.release(order_id=ORDER, key=key_of(ORDER), now=now)
    assert shelf() == {"A": (10, 0), "B": (10, 0)}
    assert set(Reservation.objects.values_list("status", "ended_at")) == {("released", NOW)}
    assert emitted("inventory") == ["stock_reserved", "stock_released"]
    assert Event.objects.latest("position").data["lines"] == [
        {"sku": "A", "quantity": 3},
        {"sku": "B", "quantity": 1},
    ]


def test_releasing_where_nothing_is_held_does_nothing(stock: None) -> None:
    assert inventory.release(order_id=ORDER, key=key_of(ORDER), now=NOW) == []
    assert (shelf(), emitted("inventory")) == ({"A": (10, 0), "B": (10, 0)}, [])


def test_what_left_cannot_be_released(stock: None) -> None:
    reserve(A=3)
    one.book_shipment(order_id=ORDER, now=NOW)
    assert inventory.release(order_id=ORDER, key=key_of(ORDER), now=LATER) == []
    assert (held(), shelf()["A"]) == ({"A": (3, "shipped")}, (7, 0))


# book_shipment ---------------------------------------------------------------------------------------------------


def test_a_parcel_takes_what_was_held(stock: None) -> None:
    reserve(A=3, B=1)
    reserve(OTHER, A=2)
    parcel = one.book_shipment(order_id=ORDER, now=NOW)
    assert one.book_shipment(order_id=ORDER, now=LATER) == parcel
    assert Parcel.objects.get().booked_at == NOW
    assert parcel.tracking_number == f"PX{parcel.id.hex[-14:].upper()}"
    assert shelf() == {"A": (7, 2), "B": (9, 0)}
    assert set(Reservation.objects.filter(order_id=ORDER).values_list("status", "ended_at")) == {("shipped", NOW)}
    assert emitted("inventory") == ["stock_reserved", "stock_reserved", "shipment_booked"]
    assert Event.objects.latest("position").data["tracking_number"] == parcel.tracking_number


@pytest.mark.parametrize("released", [False, True])
def test_nothing_is_sent_where_nothing_is_held(stock: None, released: bool) -> None:
    if released:
        reserve(A=3)
        inventory.release(order_id=ORDER, key=key_of(ORDER), now=NOW)
    before = emitted("inventory")
    with pytest.raises(NothingReserved) as refused:
        one.book_shipment(order_id=ORDER, now=NOW)
    assert str(refused.value) == "The goods for this order are no longer set aside."
    assert refused.value.order_id == ORDER
    assert (shelf()["A"], emitted("inventory"), Parcel.objects.count()) == ((10, 0), before, 0)


# receive and the selectors ---------------------------------------------------------------------------------------


def test_every_consignment_is_put_on_top(stock: None) -> None:
    reserve(A=3)
    inventory.receive({"A": 5, "C": 1})
    assert shelf() == {"A": (15, 3), "B": (10, 0), "C": (1, 0)}
    inventory.receive({})


def test_a_consignment_that_takes_away_what_is_promised_is_refused(stock: None) -> None:
    reserve(A=3)
    with pytest.raises(IntegrityError, match="inventory_reserved_is_on_hand"), transaction.atomic():
        inventory.receive({"A": -8, "B": 5})
    assert shelf() == {"A": (10, 3), "B": (10, 0)}


def test_questions_about_the_stock_are_answered(stock: None) -> None:
    reserve(A=3, B=1)
    assert selectors.available(["A", "B", "GONE"]) == {"A": 7, "B": 9, "GONE": 0}
    assert selectors.known(["A", "GONE"]) == {"A"}
    assert [row.sku for row in selectors.reservations(ORDER)] == ["A", "B"]
    assert selectors.parcel(ORDER) is None
    parcel = one.book_shipment(order_id=ORDER, now=NOW)
    assert selectors.parcel(ORDER) == parcel


# Many at once ----------------------------------------------------------------------------------------------------


def test_the_last_piece_goes_to_one_of_two(committed_stock: None) -> None:
    reserve(uuid4(), A=9)
    answers = at_once(lambda: reserve(ORDER, A=1), lambda: reserve(OTHER, A=1))
    assert sorted(type(answer).__name__ for answer in answers) == ["OutOfStock", "list"]
    assert shelf()["A"] == (10, 10)
    assert Reservation.objects.filter(sku="A", quantity=1).count() == 1
    assert emitted("inventory") == ["stock_reserved", "stock_reserved"]


def test_orders_with_their_skus_in_opposite_order_do_not_wait_for_each_other_for_ever(transactional_db: None) -> None:
    skus = ["a", "B", "_", "é", "Z-1", "z 1"]
    inventory.receive(dict.fromkeys(skus, 100))
    orders = [uuid4() for _ in range(8)]

    def whole_way(order_id: UUID, turn: int) -> None:
        for _ in range(3):
            one.reserve(order_id=order_id, quantities=[(sku, 1) for sku in skus[::turn]], key=key_of(order_id), now=NOW)
            inventory.receive(dict.fromkeys(skus[::turn], 1))
        if turn > 0:
            inventory.release(order_id=order_id, key=key_of(order_id), now=NOW)
        else:
            one.book_shipment(order_id=order_id, now=NOW)

    calls = [
        lambda n=n, order_id=order_id: whole_way(order_id, -1 if n % 2 else 1) for n, order_id in enumerate(orders)
    ]
    assert at_once(*calls) == [None] * 8
    assert shelf() == dict.fromkeys(skus, (100 + 8 * 3 - 4, 0))


@pytest.mark.parametrize("wanted", [3, 10])
def test_one_order_reserved_by_many_at_once_is_held_once(committed_stock: None, wanted: int) -> None:
    answers = at_once(*[lambda: reserve(A=wanted)] * 4)
    assert [[row.quantity for row in answer] if isinstance(answer, list) else answer for answer in answers] == [
        [wanted]
    ] * 4
    assert (shelf()["A"], emitted("inventory")) == ((10, wanted), ["stock_reserved"])


def test_one_order_shipped_by_many_at_once_is_one_parcel(committed_stock: None) -> None:
    reserve(A=3)
    answers = at_once(*[lambda: one.book_shipment(order_id=ORDER, now=NOW)] * 4)
    assert answers == [Parcel.objects.get()] * 4
    assert (shelf()["A"], emitted("inventory")) == ((7, 0), ["stock_reserved", "shipment_booked"])


def test_one_order_released_by_many_at_once_is_released_once(committed_stock: None) -> None:
    reserve(A=3)
    answers = at_once(*[lambda: inventory.release(order_id=ORDER, key=key_of(ORDER), now=NOW)] * 4)
    assert sorted(len(answer) if isinstance(answer, list) else -1 for answer in answers) == [0, 0, 0, 1]
    assert (shelf()["A"], emitted("inventory")) == ((10, 0), ["stock_reserved", "stock_released"])


def test_of_release_and_shipment_at_once_one_happens(committed_stock: None) -> None:
    reserve(A=3)
    at_once(
        lambda: inventory.release(order_id=ORDER, key=key_of(ORDER), now=NOW),
        lambda: one.book_shipment(order_id=ORDER, now=NOW),
    )
    sent = Parcel.objects.count()
    assert shelf()["A"] == ((7, 0) if sent else (10, 0))
    assert emitted("inventory") == ["stock_reserved", "shipment_booked" if sent else "stock_released"]


# Whatever happens, it adds up ------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "release", "ship", "receive"]),
        st.integers(1, 3),
        st.dictionaries(st.sampled_from(["A", "B", "C"]), st.integers(1, 4), min_size=1),
    ),
    max_size=14,
)


@given(actions=ACTIONS)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stock_always_equals_what_came_less_what_left(
    stock: None, actions: list[tuple[str, int, dict[str, int]]]
) -> None:
    received = defaultdict(int, {"A": 10, "B": 10})
    with transaction.atomic():
        for action, number, quantities in actions:
            order_id = UUID(int=number)
            try:
                if action == "reserve":
                    one.reserve(order_id=order_id, quantities=quantities.items(), key=key_of(order_id), now=NOW)
                elif action == "release":
                    inventory.release(order_id=order_id, key=key_of(order_id), now=NOW)
                elif action == "ship":
                    one.book_shipment(order_id=order_id, now=NOW)
                else:
                    inventory.receive(quantities)
                    for sku, quantity in quantities.items():
                        received[sku] += quantity
            except (OutOfStock, NothingReserved, ReservationEnded):
                pass
            assert shelf() == {sku: (came - _sum(sku, "shipped"), _sum(sku, "held")) for sku, came in received.items()}
        transaction.set_rollback(True)


def _sum(sku: str, status: str) -> int:
    return sum(Reservation.objects.filter(sku=sku, status=status).values_list("quantity", flat=True))


# What the database itself refuses --------------------------------------------------------------------------------

VIOLATIONS: dict[str, Callable[[], object]] = {
    "inventory_reserved_is_on_hand": lambda: StockItem.objects.update(reserved=F("on_hand") + 1),
    "inventory_stock_not_negative": lambda: StockItem.objects.update(on_hand=-1, reserved=-1),
    "inventory_one_live_reservation_per_order_and_sku": lambda: ReservationFactory.create(order_id=ORDER, sku="A"),
    "inventory_one_reservation_per_key_and_sku": lambda: ReservationFactory.create(
        sku="A", key=key_of(ORDER), status="released"
    ),
    "inventory_reservation_is_positive": lambda: ReservationFactory.create(quantity=0),
    "inventory_reservation_status_is_known": lambda: Reservation.objects.update(status="lost"),
    "inventory_one_parcel_per_order": lambda: ParcelFactory.create_batch(2, order_id=ORDER),
    "inventory_one_parcel_per_tracking_number": lambda: ParcelFactory.create_batch(2, tracking_number="P"),
    "inventory_stockitem_sku": lambda: StockItemFactory.create(sku="A"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_database_refuses(stock: None, name: str) -> None:
    reserve(A=3)
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        VIOLATIONS[name]()
    assert (held(), shelf(), Parcel.objects.count()) == ({"A": (3, "held")}, {"A": (10, 3), "B": (10, 0)}, 0)


def test_every_rule_of_the_tables_is_tried() -> None:
    assert named("inventory") - set(VIOLATIONS) == set()
