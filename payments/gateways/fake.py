"""A provider that keeps real books and misbehaves on demand, by Stripe's test names.

Its books are a table written outside the caller's transaction, like those of a real provider: a charge remains,
whatever happens to the calling process.
"""

import time
from collections.abc import Sequence

from django.conf import settings
from django.db import connection, transaction

from sagas.db.rows import array

from ..errors import CardDeclined, NoAnswer, PaymentCancelled, ProviderBusy, UnknownPaymentMethod
from ..gateway import Charge, ChargeOrder, Method
from ..models import FakeCharge

WORKS = "tok_visa"
DECLINED = "tok_chargeDeclined"
FLAKY = "tok_flaky"
LOST_REPLY = "tok_lostReply"
DOWN = "tok_down"

_CODES = (WORKS, DECLINED, FLAKY, LOST_REPLY, DOWN)
_FAILURES_OF_FLAKY = 2


class FakeGateway:
    """`tok_visa` works, `tok_chargeDeclined` is declined, `tok_flaky` fails twice and then works, `tok_lostReply`
    charges and loses the answer, `tok_down` never answers a charge.
    """  # noqa: D205

    methods: tuple[Method, ...] = (
        Method(code=WORKS, name="Visa card", note="works"),
        Method(code=DECLINED, name="Declined card", note="the bank says no"),
        Method(code=FLAKY, name="Flaky card", note="fails twice, then works"),
        Method(code=LOST_REPLY, name="Card with a lost reply", note="charged, but the answer gets lost"),
        Method(code=DOWN, name="Card of a provider that is down", note="never answers"),
    )

    def charge_many(self, orders: Sequence[ChargeOrder]) -> dict[str, Charge | Exception]:
        if len(orders) == 1:
            return {orders[0].key: _charge_alone(orders[0])}
        outcomes: dict[str, Charge | Exception] = {}
        for order in orders:
            if order.method not in _CODES:
                outcomes[order.key] = UnknownPaymentMethod(order.method)
        new = _charged_now([order for order in orders if order.key not in outcomes])
        for order in orders:
            if order.key in new and order.method == WORKS:
                outcomes[order.key] = Charge(
                    reference=f"fake_{new[order.key]}", amount_minor=order.amount_minor, currency=order.currency
                )
            elif order.key in new and order.method == DECLINED:
                outcomes[order.key] = CardDeclined()
        return outcomes

    def find(self, *, key: str) -> Charge | None:
        books = FakeCharge.objects.filter(key=key).first()
        if books is not None and books.status == FakeCharge.Status.DECLINED:
            raise CardDeclined
        if books is None or books.status not in (FakeCharge.Status.CHARGED, FakeCharge.Status.REFUNDED):
            return None
        return _charge(books)

    def refund(self, *, key: str) -> Charge | None:
        with transaction.atomic():
            books = _books(key)
            if books.status == FakeCharge.Status.CHARGED:
                books.status = FakeCharge.Status.REFUNDED
            elif books.status == FakeCharge.Status.NEW:
                books.status = FakeCharge.Status.CANCELLED
            books.save()
        return _charge(books) if books.status == FakeCharge.Status.REFUNDED else None


def _charge_alone(order: ChargeOrder) -> Charge | Exception:
    if order.method not in _CODES:
        return UnknownPaymentMethod(order.method)
    with transaction.atomic():
        books = _books(order.key)
        books.calls += 1
        if books.status == FakeCharge.Status.NEW:
            books.amount_minor, books.currency, books.method = order.amount_minor, order.currency, order.method
            books.status = _answer(order.method, books.calls)
        books.save()
    return _reply(books)


def _charged_now(orders: Sequence[ChargeOrder]) -> dict[str, int]:
    """Write charges and declines in one statement; return the id of each new row, by key."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO payments_fakecharge (key, status, amount_minor, currency, method, calls)
            SELECT *, 1 FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[])
            ON CONFLICT DO NOTHING RETURNING id, key
            """,
            [
                array(order.key for order in orders),
                array(_answer(order.method, 1) for order in orders),
                array(order.amount_minor for order in orders),
                array(order.currency for order in orders),
                array(order.method for order in orders),
            ],
        )
        return {key: pk for pk, key in cursor.fetchall()}


def _reply(books: FakeCharge) -> Charge | Exception:
    match books.status:
        case FakeCharge.Status.DECLINED:
            return CardDeclined()
        case FakeCharge.Status.CANCELLED | FakeCharge.Status.REFUNDED:
            return PaymentCancelled(books.key)
        case FakeCharge.Status.NEW if books.method == FLAKY:
            return ProviderBusy("The payment provider is busy (503).")
        case FakeCharge.Status.NEW:
            return _no_answer()
        case FakeCharge.Status.CHARGED if books.method == LOST_REPLY and books.calls == 1:
            return _no_answer()
    return _charge(books)


def _answer(method: str, calls: int) -> FakeCharge.Status:
    if method == DECLINED:
        return FakeCharge.Status.DECLINED
    if method == DOWN or (method == FLAKY and calls <= _FAILURES_OF_FLAKY):
        return FakeCharge.Status.NEW
    return FakeCharge.Status.CHARGED


def _no_answer() -> NoAnswer:
    time.sleep(settings.PAYMENTS_TIMEOUT_SECONDS)
    return NoAnswer(settings.PAYMENTS_TIMEOUT_SECONDS)


def _books(key: str) -> FakeCharge:
    FakeCharge.objects.bulk_create([FakeCharge(key=key)], ignore_conflicts=True)
    return FakeCharge.objects.select_for_update().get(key=key)


def _charge(books: FakeCharge) -> Charge:
    return Charge(
        reference=f"fake_{books.pk}",
        amount_minor=books.amount_minor,
        currency=books.currency,
        refunded=books.status == FakeCharge.Status.REFUNDED,
    )
