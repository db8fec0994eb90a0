"""The fold of an order's events is its row, whatever happens: random histories, made by the services themselves.

After each step the rows are looked at and noted with the moment; in the end the history must tell each of these moments
as it was. What refuses changes neither side. `HISTORIES=1000` walks more than a run of the tests does.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from inventory import services as inventory
from notifications import services as notifications
from notifications.events import NotificationKind
from notifications.models import Notification
from orders import services as orders
from orders.models import Order
from payments import credit
from payments import services as payments
from payments.history import MoneyState
from sagas.core.errors import OutcomeUnknown, Rejected, Retryable
from sagas.core.statuses import LIVE_RUNS, Action
from sagas.models import Run
from sagas.operations import interventions, queries
from sagas.testing import Broker, MovableClock, drive
from shop.story.history import History, OrderAsOf, folded, history
from tests import one
from tests.factories.credit import CreditAccountFactory
from tests.rows import rows_of

HISTORIES = int(os.environ.get("HISTORIES", "30"))
SETTINGS = settings(
    max_examples=HISTORIES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
METHODS = st.sampled_from(["tok_visa", "tok_chargeDeclined", "tok_flaky", "tok_lostReply", "invoice"])
LINES = st.lists(
    st.tuples(st.sampled_from(["MUG", "TRAY", "LAMP"]), st.integers(1, 3), st.sampled_from([None, None, 700])),
    min_size=1,
    max_size=3,
)
KEYS = st.sampled_from("ab")
#: Milliseconds since whoever does something looked at the clock.
LATE = st.sampled_from([0, 0, 7, 40])
WHICH = st.integers(0, 1)
EMAIL = "ada@example.com"


@contextmanager
def may_refuse() -> Iterator[None]:
    with suppress(Rejected, Retryable, OutcomeUnknown):
        yield


class Services(RuleBasedStateMachine):
    """Services of four contexts, called in any order with a clock that whoever waited has looked at too early."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = MovableClock()
        self.orders: list[Order] = []
        #: By order and latest event: the rows, as they were last seen at that moment.
        self.seen: dict[UUID, dict[datetime, OrderAsOf]] = defaultdict(dict)

    def teardown(self) -> None:
        for order in self.orders:
            told = history(order.id)
            for at, rows in self.seen[order.id].items():
                assert told.as_of(at) == rows
            look_at_each_moment(told)

    @contextmanager
    def on(self, order: Order, late: int = 0) -> Iterator[Order]:
        """Do something with an order; `late`: the milliseconds since whoever does it looked at the clock."""
        self.clock.move(milliseconds=5)
        self.now = self.clock() - timedelta(milliseconds=late)
        with may_refuse():
            yield order

    def key(self, order: Order, key: str) -> str:
        return f"{order.id}:{key}"

    @invariant()
    def the_fold_is_the_row(self) -> None:
        for order in self.orders:
            events, rows = queries.events_of(str(order.id)), rows_of(order.id)
            assert folded(events).moments[-1].state == rows
            self.seen[order.id][max(event.occurred_at for event in events)] = rows

    @precondition(lambda self: len(self.orders) < 2)
    @rule(method=METHODS, lines=LINES, name=st.text("aé\"\\ '", min_size=1, max_size=5))
    def place(self, method: str, lines: list[tuple[str, int, int | None]], name: str) -> None:
        placed = orders.place(
            customer_email=EMAIL,
            customer_name=f"Ada {name}",
            payment_method=method,
            lines=[orders.LineRequest(sku=sku, quantity=n, unit_price_minor=price) for sku, n, price in lines],
            now=self.clock(),
            idempotency_key=str(uuid4()),
        )
        self.orders.append(placed)
        with self.on(placed):
            pass

    # A rule for goods, money and credit each: some histories then have much of one of them.

    @precondition(lambda self: self.orders)
    @rule(which=WHICH, key=KEYS, late=LATE, what=st.sampled_from(["reserve", "release", "book"]))
    def goods(self, which: int, key: str, late: int, what: str) -> None:
        with self.on(self.orders[which % len(self.orders)], late) as order:
            if what == "reserve":
                quantities = list(order.lines.values_list("sku", "quantity"))
                one.reserve(order_id=order.id, quantities=quantities, key=self.key(order, key), now=self.now)
            elif what == "release":
                inventory.release(order_id=order.id, key=self.key(order, key), now=self.now)
            else:
                one.book_shipment(order_id=order.id, now=self.now)

    @precondition(lambda self: self.orders)
    @rule(
        which=WHICH,
        key=KEYS,
        late=LATE,
        does=st.sampled_from([one.capture, payments.refund, payments.find_capture]),
    )
    def charge(self, which: int, key: str, late: int, does: Callable[..., object]) -> None:
        with self.on(self.orders[which % len(self.orders)], late) as order:
            request = payments.PaymentRequest(
                order_id=order.id,
                amount_minor=order.total_minor,
                currency="GBP",
                method=order.payment_method,
                key=self.key(order, key),
            )
            does(request, now=self.now)

    @precondition(lambda self: self.orders)
    @rule(which=WHICH, key=KEYS, late=LATE, holds=st.booleans())
    def credit(self, which: int, key: str, late: int, holds: bool) -> None:
        with self.on(self.orders[which % len(self.orders)], late) as order:
            key = self.key(order, key)
            if holds:
                request = credit.CreditRequest(
                    order_id=order.id, customer_email=EMAIL, amount_minor=order.total_minor, currency="GBP", key=key
                )
                one.hold_credit(request, now=self.now)
            else:
                credit.release_credit(order_id=order.id, key=key, now=self.now)

    @precondition(lambda self: self.orders)
    @rule(which=WHICH, late=st.sampled_from([0, 30]), what=st.sampled_from(["confirm", "reject", "cancel"]))
    def decide(self, which: int, late: int, what: str) -> None:
        with self.on(self.orders[which % len(self.orders)], late) as order:
            if what == "confirm":
                one.confirm(order_id=order.id, now=self.now)
            elif what == "reject":
                orders.reject(order_id=order.id, reason="Sold out. " * 60, now=self.now)
            else:
                orders.cancel(order_id=order.id, reason="Ordered twice.", now=self.now)

    @precondition(lambda self: self.orders)
    @rule(which=WHICH, kind=st.sampled_from(list(NotificationKind)))
    def tell(self, which: int, kind: NotificationKind) -> None:
        with self.on(self.orders[which % len(self.orders)]) as order:
            context = {"number": order.number, "name": "Ada", "total": "£1", "lines": [], "reason": "Sold out."}
            message = notifications.Message(order_id=order.id, kind=kind, recipient=EMAIL, context=context)
            notifications.queue(message, now=self.now)

    @precondition(lambda self: self.orders)
    @rule(which=WHICH, last=st.booleans())
    def send(self, which: int, last: bool) -> None:
        with self.on(self.orders[which % len(self.orders)]) as order:
            queued = Notification.objects.filter(order_id=order.id).order_by("-id" if last else "id")[:1]
            for message in queued:
                one.send(notification_id=message.id, now=self.now)


def look_at_each_moment(told: History) -> None:
    """What happened stays so: nothing an order once was is taken back by a later moment."""
    before = OrderAsOf()
    for moment in told.moments:
        now = moment.state
        assert before.order.status in ("", "pending", now.order.status)
        assert (now.order.decided_at is None) == (now.order.status == "pending")
        assert now.order.total_minor == sum(line.quantity * line.unit_price_minor for line in now.order.lines)
        if before.order.is_placed:
            decided = {"status", "reason", "decided_at"}
            assert now.order.model_dump(exclude=decided) == before.order.model_dump(exclude=decided)
        for was, became in zip(before.goods.pieces, now.goods.pieces, strict=False):
            assert became == was or was.status == "held"
        for paid, then in zip(before.money.payments, now.money.payments, strict=False):
            assert then == paid or paid.status == "captured"
        assert [len(part) for part in _parts(before)] <= [len(part) for part in _parts(now)]
        assert all(minor in (0, now.order.total_minor) for minor in now.money.kept_minor.values())
        # A snapshot of it would say the same.
        assert OrderAsOf.model_validate_json(now.model_dump_json()) == now
        before = now


def _parts(state: OrderAsOf) -> tuple[tuple[object, ...], ...]:
    return state.goods.pieces, state.money.payments, state.money.credit, state.notifications.messages


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("shelves")
def test_the_fold_of_the_events_is_the_row_for_random_histories() -> None:
    inventory.receive({"MUG": 10**6, "TRAY": 10**6, "LAMP": 10**6})
    CreditAccountFactory.create(limit_minor=30_000)
    run_state_machine_as_test(Services, settings=SETTINGS)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("shelves")
def test_the_fold_of_the_events_is_the_row_at_every_moment_of_the_process() -> None:
    CreditAccountFactory.create(limit_minor=10**9)

    @settings(SETTINGS, max_examples=max(10, HISTORIES // 2))
    @given(
        asked=st.lists(st.tuples(METHODS, st.sampled_from([1, 1, 2, 10**6])), min_size=1, max_size=3),
        called_off_at=st.integers(0, 30),
    )
    def follow(asked: list[tuple[str, int]], called_off_at: int) -> None:
        clock, seen = MovableClock(), dict[tuple[UUID, datetime], OrderAsOf]()
        inventory.receive({"MUG": 10})
        ids = [
            orders.place(
                customer_email=EMAIL,
                customer_name="Ada",
                payment_method=method,
                lines=[orders.LineRequest(sku="MUG", quantity=quantity)],
                now=clock(),
            ).id
            for method, quantity in asked
        ]
        broker, turn = Broker(clock), 0
        while True:
            for order_id in ids:
                seen[order_id, clock()] = rows_of(order_id)
            clock.move(milliseconds=3)
            turn += 1
            if turn == called_off_at:
                live = list(Run.objects.filter(key=str(ids[0]), status__in=LIVE_RUNS))
                interventions.ask(live, Action.CANCEL, reason="Ordered twice.", by="boss", now=clock())
                broker.send(interventions.work(now=clock()).wake_ups)
            if broker.waiting:
                broker.deliver(broker.waiting[0])
            elif Run.objects.filter(finished_at=None).exists() or broker.relay():
                clock.move(seconds=11)
                broker.relay()
                broker.sweep()
            else:
                break
        drive(now=clock)
        for order_id in ids:
            told = history(order_id)
            assert told.moments[-1].state == rows_of(order_id)
            assert told.moments[-1].state.order.status != "pending"
            look_at_each_moment(told)
            assert all(told.as_of(at) == rows for (key, at), rows in seen.items() if key == order_id)

    follow()


def test_money_that_was_never_taken_is_not_kept() -> None:
    assert MoneyState().kept_minor == {}
