"""Whoever judges must be judged: a quiet shop passes, and each kind of breach, made by hand, is reported."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from inventory import services as inventory
from inventory.models import Reservation, StockItem
from notifications.models import Notification
from orders import services as orders
from orders.models import Order, OrderLine
from payments import credit
from payments.models import CreditAccount, FakeCharge, Payment
from sagas.models import Delivery, Event, Run
from sagas.testing import MovableClock, drive
from tests.chaos import facts, verdict
from tests.chaos.asking import CREDIT_CUSTOMER, PRICE_MINOR, Answers, Ask
from tests.factories.stock import ParcelFactory

STOCK = {"MUG": 100, "GONE": 0}
ASKED = [
    Ask(key="visa", email="a@example.com", method="tok_visa", lines=(("MUG", 2),), outcomes=frozenset({"confirmed"})),
    Ask(key="bill", email=CREDIT_CUSTOMER, method="invoice", lines=(("MUG", 3),), outcomes=frozenset({"confirmed"})),
    Ask(
        key="declined",
        email="b@example.com",
        method="tok_chargeDeclined",
        lines=(("MUG", 1),),
        outcomes=frozenset({"CardDeclined"}),
    ),
    Ask(key="down", email="d@example.com", method="tok_down", lines=(("MUG", 1),), outcomes=frozenset({"*"})),
    Ask(
        key="gone",
        email="c@example.com",
        method="tok_visa",
        lines=(("MUG", 1), ("GONE", 1)),
        outcomes=frozenset({"OutOfStock"}),
    ),
]
ENDED = "every order ends, as it should"
THERE = "every order asked for is there, once"
CHARGED = "nobody is charged twice, or for nothing"
SHIPPED = "nothing is shipped unpaid, and what is paid is shipped"
TOLD = "every customer is told once, and what is true"
STOCK_ADDS_UP = "the stock adds up, and is never below zero"
CREDIT_ADDS_UP = "the credit adds up"
NOTHING_LEFT = "nothing is left over"


class Shop:
    """A shop in which everything asked for has ended."""

    def __init__(self, mails: Path) -> None:
        self.mails = mails
        self.answers = Answers()

    def broken(self) -> set[str]:
        findings = verdict.judge(asked=ASKED, answers=self.answers, facts=facts.read(self.mails), stock=STOCK)
        return {finding.promise for finding in findings if finding.breaches}

    def broken_after(self, do: "Callable[[Shop], None]") -> set[str]:
        """Say which promises a breach breaks, then take it back."""
        answers, mails = dict(self.answers.order_ids), {path: path.read_bytes() for path in self.mails.iterdir()}
        try:
            with transaction.atomic():
                do(self)
                broken = self.broken()
                transaction.set_rollback(True)
        finally:
            self.answers.order_ids = answers
            for path in {*self.mails.iterdir(), *mails}:
                path.unlink(missing_ok=True)
            for path, mail in mails.items():
                path.write_bytes(mail)
        return broken

    def mail(self, key: str) -> Path:
        return self.mails / f"{Notification.objects.get(order_id=order(key).id).id}@shop.eml"


def order(key: str) -> Order:
    return Order.objects.get(idempotency_key=key)


@pytest.fixture
def shop(transactional_db: None, tmp_path: Path, settings: Settings) -> Shop:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = "shop.platform.mail.MailFolder", tmp_path
    orders.add_products([(sku, sku, PRICE_MINOR) for sku in STOCK], currency=django_settings.CURRENCY)
    inventory.receive(STOCK)
    credit.open_credit(customer_email=CREDIT_CUSTOMER, limit_minor=10**6, currency=django_settings.CURRENCY)
    shop, clock = Shop(tmp_path), MovableClock()
    for ask in ASKED:
        placed = orders.place(
            customer_email=ask.email,
            customer_name="Ada",
            payment_method=ask.method,
            lines=[orders.LineRequest(sku=sku, quantity=quantity) for sku, quantity in ask.lines],
            now=clock(),
            idempotency_key=ask.key,
        )
        shop.answers.order_ids[ask.key] = str(placed.id)
    for _ in range(10):
        drive(now=clock)
        clock.move(minutes=1)
    return shop


def test_a_shop_in_which_all_went_well_holds_every_promise(shop: Shop) -> None:
    assert shop.broken() == set()
    assert list(Order.objects.order_by("id").values_list("status", flat=True)) == [
        "confirmed", "confirmed", "rejected", "rejected", "rejected",
    ]  # fmt: skip


def charge_twice(shop: Shop) -> None:
    charge = FakeCharge.objects.get(key__startswith=str(Run.objects.get(key=order("visa").id).id))
    charge.pk, charge.key = None, f"{charge.key}-again"
    charge.save(force_insert=True)


def charge_more(shop: Shop) -> None:
    Payment.objects.filter(order_id=order("visa").id).update(amount_minor=1)


def charge_a_rejected_order(shop: Shop) -> None:
    FakeCharge.objects.filter(status="declined").update(status="charged")


def lose_an_order(shop: Shop) -> None:
    OrderLine.objects.filter(order=order("gone")).delete()
    order("gone").delete()


def answer_with_another_order(shop: Shop) -> None:
    shop.answers.order_ids["gone"] = str(order("visa").id)


def leave_a_customer_without_an_answer(shop: Shop) -> None:
    del shop.answers.order_ids["visa"]


def place_an_order_nobody_asked_for(shop: Shop) -> None:
    Order.objects.filter(idempotency_key="gone").update(idempotency_key="other")


def change_a_line(shop: Shop) -> None:
    OrderLine.objects.filter(order=order("visa")).update(quantity=3)


def mail_twice(shop: Shop) -> None:
    (shop.mails / "again.eml").write_bytes(shop.mail("visa").read_bytes())


def lose_a_mail(shop: Shop) -> None:
    shop.mail("declined").unlink()


def mail_the_wrong_kind(shop: Shop) -> None:
    Notification.objects.filter(order_id=order("visa").id).update(kind="order_rejected")


def mail_somebody_else(shop: Shop) -> None:
    mail = shop.mail("visa")
    mail.write_bytes(mail.read_bytes().replace(b"a@example.com", b"b@example.com"))


def mail_another_reason(shop: Shop) -> None:
    Order.objects.filter(idempotency_key="declined").update(reason="Your card is lovely.")


def ship_unpaid(shop: Shop) -> None:
    Payment.objects.filter(order_id=order("visa").id).update(made_at=timezone.now() + timedelta(days=1))


def ship_a_rejected_order(shop: Shop) -> None:
    ParcelFactory.create(order_id=order("declined").id)


def ship_too_much(shop: Shop) -> None:
    Reservation.objects.filter(order_id=order("visa").id).update(quantity=5)


def lose_stock(shop: Shop) -> None:
    StockItem.objects.filter(sku="MUG").update(on_hand=94)


def keep_stock(shop: Shop) -> None:
    StockItem.objects.filter(sku="MUG").update(reserved=1)


def promise_more_than_there_is(shop: Shop) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE inventory_stockitem DROP CONSTRAINT inventory_reserved_is_on_hand")
    StockItem.objects.filter(sku="GONE").update(reserved=1)


def keep_credit(shop: Shop) -> None:
    CreditAccount.objects.update(held_minor=1)


def reject_what_could_be_had(shop: Shop) -> None:
    Order.objects.filter(idempotency_key="visa").update(status="rejected")


def leave_a_run_open(shop: Shop) -> None:
    Run.objects.filter(key=order("visa").id).update(
        status="needs_attention", resumes_as="running", stopped_at=timezone.now(), finished_at=None
    )


def leave_an_event(shop: Shop) -> None:
    Event.objects.filter(type="orders.order_placed").update(log_position=None)


def park_a_delivery(shop: Shop) -> None:
    Delivery.objects.update(status="parked")


BREACHES: dict[Callable[[Shop], None], set[str]] = {
    charge_twice: {CHARGED},
    charge_more: {CHARGED},
    charge_a_rejected_order: {CHARGED},
    lose_an_order: {THERE, NOTHING_LEFT},
    answer_with_another_order: {THERE},
    leave_a_customer_without_an_answer: {THERE},
    place_an_order_nobody_asked_for: {THERE},
    change_a_line: {THERE, SHIPPED},
    mail_twice: {TOLD},
    lose_a_mail: {TOLD},
    mail_the_wrong_kind: {TOLD},
    mail_somebody_else: {TOLD},
    mail_another_reason: {TOLD},
    ship_unpaid: {SHIPPED},
    ship_a_rejected_order: {SHIPPED},
    ship_too_much: {SHIPPED, STOCK_ADDS_UP},
    lose_stock: {STOCK_ADDS_UP},
    keep_stock: {STOCK_ADDS_UP},
    promise_more_than_there_is: {STOCK_ADDS_UP},
    keep_credit: {CREDIT_ADDS_UP},
    reject_what_could_be_had: {ENDED, CHARGED, SHIPPED, TOLD},
    leave_a_run_open: {ENDED, NOTHING_LEFT},
    leave_an_event: {NOTHING_LEFT},
    park_a_delivery: {NOTHING_LEFT},
}


def test_every_breach_is_reported(shop: Shop) -> None:
    assert {do.__name__: shop.broken_after(do) for do in BREACHES} == {
        do.__name__: broken for do, broken in BREACHES.items()
    }
    assert shop.broken() == set()
