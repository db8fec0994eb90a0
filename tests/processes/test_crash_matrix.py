"""An order comes right whatever dies, and wherever: every boundary of every path of `fulfil-order`."""

import os
from datetime import datetime

import pytest
from django.core import mail
from django.db.models import Sum

from inventory import services as inventory
from inventory.models import Parcel, Reservation, StockItem
from notifications.models import Notification
from orders.models import Order
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.models import StepRun
from sagas.testing import Variant, crash_matrix, paths
from shop.processes.fulfil_order import fulfil_order
from tests.factories.credit import CreditAccountFactory
from tests.factories.orders import Place

#: By card in every run of the tests; `make matrix` walks both ways to pay.
METHODS = ["tok_visa", "invoice"] if os.environ.get("CRASH_MATRIX") == "all" else ["tok_visa"]

#: What each way to pay leaves out of the plan.
SKIPPED = {"tok_visa": {"hold-credit"}, "invoice": {"capture-payment"}}

#: Each path is a test of its own, so that they go side by side.
WALKS = [(method, path.name) for method in METHODS for path in paths(fulfil_order, skipped=SKIPPED[method])]

#: In a batch, every run of the tests walks the good path; `make matrix` all.
ONLY = "" if os.environ.get("CRASH_MATRIX") == "all" else "all succeeds"

#: More than all cases together can take.
PLENTY = 1_000_000


def money_is_right(key: str) -> None:
    order = Order.objects.get(id=key)
    confirmed = order.status == Order.Status.CONFIRMED
    by_card = order.payment_method != "invoice"
    charged = FakeCharge.objects.filter(key__in=Payment.objects.filter(order_id=key).values("key"))
    kept = sum(charge.amount_minor for charge in charged.filter(status=FakeCharge.Status.CHARGED))
    assert kept == (order.total_minor if confirmed and by_card else 0)
    captured = Payment.objects.filter(order_id=key, status=Payment.Status.CAPTURED)
    assert sum(payment.amount_minor for payment in captured) == kept
    assert Payment.objects.filter(order_id=key).count() <= 1
    held = CreditHold.objects.filter(order_id=key, status=CreditHold.Status.HELD)
    assert sum(hold.amount_minor for hold in held) == (order.total_minor if confirmed and not by_card else 0)
    for account in CreditAccount.objects.all():
        assert (
            account.held_minor == account.holds.filter(status="held").aggregate(s=Sum("amount_minor", default=0))["s"]
        )


def the_provider_charged_nobody_else(key: str) -> None:
    charges = FakeCharge.objects.filter(status=FakeCharge.Status.CHARGED)
    assert charges.count() == Payment.objects.filter(status=Payment.Status.CAPTURED).count()


def goods_are_right(key: str) -> None:
    order = Order.objects.get(id=key)
    confirmed = order.status == Order.Status.CONFIRMED
    assert Parcel.objects.filter(order_id=key).count() == int(confirmed)
    statuses = set(Reservation.objects.filter(order_id=key).values_list("status", flat=True))
    assert statuses == {"shipped"} if confirmed else statuses <= {"released"}
    shipped = Reservation.objects.filter(sku="MUG", status="shipped").aggregate(sum=Sum("quantity", default=0))
    mugs = StockItem.objects.get(sku="MUG")
    assert mugs.reserved == 0
    assert mugs.on_hand == PLENTY + 100 - shipped["sum"]


def the_customer_is_told_the_truth_once(key: str) -> None:
    order = Order.objects.get(id=key)
    assert order.status in (Order.Status.CONFIRMED, Order.Status.REJECTED)
    told = list(Notification.objects.filter(order_id=key).values_list("kind", "status"))
    assert told == [(f"order_{order.status}", "sent")]
    # SMTP cannot be asked: a mail may leave twice, under one Message-ID.
    (message_id,) = Notification.objects.filter(order_id=key).values_list("id", flat=True)
    mine = [message for message in mail.outbox if order.number in message.subject]
    assert {message.extra_headers["Message-ID"] for message in mine} == {f"<{message_id}@shop>"}
    mail.outbox[:] = [message for message in mail.outbox if message not in mine]


INVARIANTS = (
    money_is_right,
    the_provider_charged_nobody_else,
    goods_are_right,
    the_customer_is_told_the_truth_once,
)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("method", "path"), WALKS)
def test_an_order_comes_right_whatever_dies_and_wherever(place: Place, method: str, path: str) -> None:
    inventory.receive({"MUG": PLENTY})
    CreditAccountFactory.create(limit_minor=10**12)

    def start(now: datetime) -> None:
        place(method, now=now)

    summary = crash_matrix(fulfil_order, INVARIANTS, start=start, path=path)
    print(summary)  # noqa: T201 - the table, for whoever runs it with -s
    assert (
        set(StepRun.objects.filter(status="skipped", run__status="completed").values_list("step", flat=True))
        == (SKIPPED[method])
    )
    counts = summary.variants[path]
    assert counts[Variant.NOTHING] == 1
    for variant in (Variant.CRASH, Variant.CRASH_AND_BACK, Variant.CRASH_AND_LOST, Variant.DOUBLED):
        assert counts[variant]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", METHODS)
def test_two_orders_in_a_batch_come_right_and_one_does_not_notice_the_other(place: Place, method: str) -> None:
    inventory.receive({"MUG": PLENTY})
    CreditAccountFactory.create(limit_minor=10**12)

    def start(now: datetime) -> None:
        place(method, now=now)

    summary = crash_matrix(fulfil_order, INVARIANTS, start=start, runs=2, only=ONLY)
    print(summary)  # noqa: T201 - the table, for whoever runs it with -s
    assert summary.cases
