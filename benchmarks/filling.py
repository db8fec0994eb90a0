"""Fills a database with years of finished orders, so that pages, queries and turns can be measured with them.

A few model orders are really placed and driven to their end, one of each kind. Then each of their rows is written
repeatedly by `INSERT … SELECT`, as a pattern in which ids, names and times are replaced: so every column has the values
that the engine writes, also new columns.
"""

# ruff: noqa: SLF001 - `_meta` is documented API of Django

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from psycopg.sql import SQL, Composable, Identifier, Literal

from inventory import services as inventory
from inventory.models import Parcel, Reservation
from notifications.models import Notification
from orders import services
from orders.models import Order, OrderLine, Product
from payments.events import CreditHeld, credit_account_id
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from payments.services import open_credit
from sagas.core.ids import new_id
from sagas.core.statuses import Action
from sagas.db import clock
from sagas.log import followers
from sagas.models import Attempt, Delivery, Event, Follower, Intervention, Run, StepRun
from sagas.operations import interventions
from sagas.testing import drive, run_chain

#: A million orders are a year.
EVERY = timedelta(seconds=30)
#: The newest ones are old enough for the reconciliation to have looked at them twice.
_ENDED_AGO = timedelta(minutes=10)
#: Where in a UUIDv7 the milliseconds begin.
_MS_AT = 80
#: Orders of one transaction; some seconds each, so that progress can be shown.
_PIECE = 10_000
_PRODUCTS, _ACCOUNTS = 200, 1000
#: Placeholders in the model orders for values that differ from order to order, without characters that JSON escapes.
_EMAIL, _NAME, _KEY = "model@filling.example", "Model Of Filling", "filling-model-key"
_SKUS, _TITLES = ("FILLING-MODEL-A", "FILLING-MODEL-B"), ("First model of filling", "Second model of filling")
_PRICES = (1295, 6450)
_FIRST = ("Ada", "Alan", "Barbara", "Edsger", "Grace", "Ken", "Leslie", "Donald", "Radia", "Tony")
_LAST = ("Lovelace", "Turing", "Liskov", "Dijkstra", "Hopper", "Thompson", "Lamport", "Knuth", "Perlman", "Hoare")


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """One kind of order: its share in percent, and how the model is placed."""

    share: int
    lines: tuple[tuple[str, int], ...]
    method: str = "tok_visa"
    key: str | None = None
    called_off: bool = False


_A, _B = _SKUS
_KINDS = (
    _Kind(share=45, lines=((_A, 2),)),
    _Kind(share=35, lines=((_A, 1), (_B, 1)), key=_KEY),
    _Kind(share=5, lines=((_B, 3),), method="tok_flaky"),
    _Kind(share=6, lines=((_B, 1),), method="invoice"),
    _Kind(share=5, lines=((_A, 1), (_B, 2)), method="tok_chargeDeclined"),
    _Kind(share=2, lines=((_A, services.MAX_QUANTITY),)),
    _Kind(share=2, lines=((_A, 1),), method="tok_flaky", called_off=True),
)


def fill(*, orders: int, events: int, show: Callable[[str], object] = print) -> None:
    """Add so many finished orders with so many events; then VACUUM ANALYZE.

    For a shop at rest: sequences are advanced by hand. An order has four to seven real events; the rest up to `events`
    are copies of the last one, "message sent".

    Transaction: refuses one; opens one a piece.

    Raises:
        ValueError: there are too few events for so many orders.
    """
    begin = clock.now() - _ENDED_AGO - orders * EVERY
    accounts = _shelves_and_accounts()
    models = [_rows(_placed(kind, begin)) for kind in _KINDS]
    most = max(len(rows[Event]) for rows in models)
    if events < orders * most:
        raise ValueError(f"an order tells of up to {most} events: {orders * most} at least, not {events}")
    plan = _Plan(orders=orders, events=events, begin=begin, accounts=accounts, models=models)
    pieces = list(plan.pieces())
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(_write, plan, piece) for piece in pieces]):
            done += future.result()
            show(f"{done:,} of {orders:,} orders")
    _settle(accounts)
    # The filled events are done: no follower gets a delivery of them.
    Follower.objects.update(position=followers.head())
    show("vacuum, analyze")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


# The models -----------------------------------------------------------------------------------------------------------


def _shelves_and_accounts() -> range:
    """Write the products with their stock, and the credit accounts; return the ids of the accounts."""
    services.add_products(zip(_SKUS, _TITLES, _PRICES, strict=True), currency=settings.CURRENCY)
    services.add_products(
        ((f"FILL-{n:04}", f"Article {n}", _PRICES[n % 2]) for n in range(_PRODUCTS)), currency=settings.CURRENCY
    )
    inventory.receive(dict.fromkeys((*_SKUS, *(f"FILL-{n:04}" for n in range(_PRODUCTS))), 100))
    open_credit(customer_email=_EMAIL, limit_minor=10**12, currency=settings.CURRENCY)
    first = _reserve(CreditAccount, _ACCOUNTS)
    CreditAccount.objects.bulk_create(
        CreditAccount(pk=pk, customer_email=f"account{pk}@example.com", limit_minor=10**12, currency=settings.CURRENCY)
        for pk in range(first, first + _ACCOUNTS)
    )
    return range(first, first + _ACCOUNTS)


class _Ticking:
    """A clock that advances with each reading."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=7)
        return self.now


def _placed(kind: _Kind, at: datetime) -> Order:
    """Place an order of this kind and drive it to its end."""
    now = _Ticking(at)
    order = services.place(
        customer_email=_EMAIL,
        customer_name=_NAME,
        payment_method=kind.method,
        lines=[services.LineRequest(sku=sku, quantity=quantity) for sku, quantity in kind.lines],
        idempotency_key=f"{kind.key}-{new_id()}" if kind.key else None,
        now=at,
    )
    drive(now=now)
    if kind.called_off:
        _call_off(Run.objects.get(key=str(order.id)), now)
    while Run.objects.filter(key=str(order.id), finished_at=None).exists():
        now.now += timedelta(seconds=1)
        drive(now=now)
    drive(now=now)
    order.refresh_from_db()
    return order


def _call_off(run: Run, now: Callable[[], datetime]) -> None:
    batch = interventions.ask([run], Action.CANCEL, reason="Ordered twice.", by="filling", now=now())
    for wake_up in interventions.work(batch=batch, now=now()).wake_ups:
        run_chain(wake_up, now=now)


_Rows = Mapping[type[Model], Sequence[Any]]


def _rows(order: Order) -> _Rows:
    """Return all rows of one order, by their table."""
    run = Run.objects.get(key=str(order.id))
    found: tuple[QuerySet[Any], ...] = (
        Order.objects.filter(pk=order.pk),
        OrderLine.objects.filter(order=order),
        Event.objects.filter(key=str(order.id)),
        Run.objects.filter(pk=run.pk),
        StepRun.objects.filter(run=run),
        Delivery.objects.filter(key=str(order.id)),
        Attempt.objects.filter(step__run=run),
        Intervention.objects.filter(key=run.key),
        Reservation.objects.filter(order_id=order.id),
        Parcel.objects.filter(order_id=order.id),
        FakeCharge.objects.filter(key__startswith=str(run.id)),
        Payment.objects.filter(order_id=order.id),
        CreditHold.objects.filter(order_id=order.id),
        Notification.objects.filter(order_id=order.id),
    )
    return {rows.model: list(rows.order_by("pk")) for rows in found}


def _with_events(rows: _Rows, count: int) -> _Rows:
    """Return the rows with this many events: the last one, "message sent", is repeated.

    Their places in the log are those in which they are written.
    """
    events = [copy(event) for event in rows[Event]]
    while len(events) < count:
        events.append(_told_again(events[-1]))
    for event in events:
        event.log_position = event.position
    return {**rows, Event: events}


def _told_again(event: Event) -> Event:
    """Return a copy of the event half a second later."""
    later = timedelta(milliseconds=500)
    again = copy(event)
    again.id = UUID(int=event.id.int + (later // timedelta(milliseconds=1) << _MS_AT))
    again.position, again.sequence = event.position + 1, event.sequence + 1
    again.occurred_at, again.relayed_at = event.occurred_at + later, event.occurred_at + 2 * later
    return again


def _uuids(rows: _Rows) -> list[UUID]:
    """Return the ids that were made for an order."""
    values = (value for found in rows.values() for row in found for value in vars(row).values())
    return sorted({value for value in values if isinstance(value, UUID)})


# The plan -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """The orders from `first` up to, but without, `end`; each has this many events."""

    first: int
    end: int
    events: int


class _Plan:
    """The rows to write, and the numbers and ids that are reserved for them."""

    def __init__(self, *, orders: int, events: int, begin: datetime, accounts: range, models: Sequence[_Rows]) -> None:
        self.orders, self.events, self.begin, self.accounts, self.models = orders, events, begin, accounts, models
        #: How many rows of a table an order has at most.
        self.width = {table: max(len(rows[table]) for rows in models) for table in models[0] if _is_counted(table)}
        self.width[Event] = -(-events // orders)
        self.first_id = {table: _reserve(table, width * orders) for table, width in self.width.items()}
        self.first_number = _reserve_numbers(orders)

    def pieces(self) -> Iterator[_Piece]:
        each, more = divmod(self.events, self.orders)
        for begin, end, events in ((0, more, each + 1), (more, self.orders, each)):
            for first in range(begin, end, _PIECE):
                yield _Piece(first=first, end=min(first + _PIECE, end), events=events)


def _is_counted(table: type[Model]) -> bool:
    """Say whether ids of this table are given out by a sequence."""
    return table._meta.pk.get_internal_type() == "BigAutoField"


def _reserve_numbers(count: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('orders_number', nextval('orders_number') + %s) - %s", [count, count])
        ((first,),) = cursor.fetchall()
        return int(first)


def _reserve(table: type[Model], count: int) -> int:
    """Reserve this many ids in the sequence; return the first."""
    name, column = table._meta.db_table, str(table._meta.pk.column)
    with connection.cursor() as cursor:
        cursor.execute(
            SQL("SELECT setval({0}, greatest(nextval({0}), coalesce(max({1}), 0) + 1) + {2}) - {2} FROM {3}").format(
                Literal(_sequence(name, column)), Identifier(column), Literal(count), Identifier(name)
            )
        )
        ((first,),) = cursor.fetchall()
        return int(first)


def _sequence(table: str, column: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, column])
        ((name,),) = cursor.fetchall()
        return str(name)


# Writing --------------------------------------------------------------------------------------------------------------


def _write(plan: _Plan, piece: _Piece) -> int:
    """Write one piece in a transaction of its own; return how many orders it had."""
    least = 0
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
            for kind, model in zip(_KINDS, plan.models, strict=True):
                rows = _with_events(model, piece.events)
                cursor.execute(_story(plan, piece, rows, shares=range(least, least + kind.share)))
                words = _words(rows) | _words_of_ids(plan, rows)
                for table, found in rows.items():
                    if found:
                        cursor.execute(_insert(table, found, _ids(plan, rows), words))
                cursor.execute("DROP TABLE story")
                least += kind.share
    finally:
        connection.close()
    return piece.end - piece.first


def _story(plan: _Plan, piece: _Piece, rows: _Rows, *, shares: range) -> Composable:
    """Return the statement that stores all values that differ from order to order, a row for each order."""
    (order,) = rows[Order]
    uuids = [
        _uuid(value, since=order.id, salt=f"{plan.first_number}-{place}-", name=f"id{place}")
        for place, value in enumerate(_uuids(rows))
    ]
    email = _EMAIL_OF_AN_ACCOUNT if order.payment_method == "invoice" else _EMAIL_OF_A_CUSTOMER
    return SQL(_STORY).format(
        email=SQL(email),
        uuids=SQL(", ").join(uuids),
        first_number=Literal(plan.first_number),
        begin=Literal(plan.begin),
        every=Literal(EVERY),
        placed_at=Literal(order.placed_at),
        first_account=Literal(plan.accounts.start),
        accounts=Literal(len(plan.accounts)),
        first_names=Literal(list(_FIRST)),
        last_names=Literal(list(_LAST)),
        products=Literal(_PRODUCTS),
        first=Literal(piece.first),
        last=Literal(piece.end - 1),
        least=Literal(shares.start),
        less=Literal(shares.stop),
    )


_EMAIL_OF_AN_ACCOUNT = "'account' || account || '@example.com'"
_EMAIL_OF_A_CUSTOMER = "lower(first_name || '.' || last_name) || n % 997 || '@example.com'"
#: 37 and 100 have no common divisor: every hundred orders, in another sequence, have their shares.
_STORY = """
    CREATE TEMP TABLE story ON COMMIT DROP AS
    SELECT n, 'S' || {first_number} + n AS number, at - {placed_at} AS shift, account, {email} AS email,
        first_name || ' ' || last_name AS name,
        product_a.id AS product_a, product_a.sku AS sku_a, product_a.name AS title_a,
        product_b.id AS product_b, product_b.sku AS sku_b, product_b.name AS title_b,
        {uuids}
    FROM (
        SELECT n, {begin} + n * {every} AS at, (extract(epoch FROM {begin} + n * {every}) * 1000)::bigint AS at_ms,
            {first_account} + n / 100 % {accounts} AS account,
            ({first_names}::text[])[1 + n * 7 % 11 % 10] AS first_name,
            ({last_names}::text[])[1 + n * 5 % 13 % 10] AS last_name,
            n * 31 % {products} / 2 * 2 AS a, n * 37 % {products} / 2 * 2 + 1 AS b
        FROM generate_series({first}::bigint, {last}::bigint) AS n
        WHERE n * 37 % 100 >= {least} AND n * 37 % 100 < {less}
    ) AS numbered
    JOIN orders_product AS product_a ON product_a.sku = 'FILL-' || lpad(a::text, 4, '0')
    JOIN orders_product AS product_b ON product_b.sku = 'FILL-' || lpad(b::text, 4, '0')
    ORDER BY n
"""


def _uuid(value: UUID, *, since: UUID, salt: str, name: str) -> Composable:
    """Return the text of an id made as long after that of its order as this one was (UUIDv7)."""
    return SQL(
        "(lpad(to_hex(at_ms + {ms}), 12, '0') || '7' || substr(md5({salt} || n), 1, 3)"
        " || 'a' || substr(md5({salt} || n), 4, 15))::uuid::text AS {name}"
    ).format(ms=Literal((value.int >> _MS_AT) - (since.int >> _MS_AT)), salt=Literal(salt), name=Identifier(name))


def _ids(plan: _Plan, rows: _Rows) -> dict[tuple[type[Model], int], Composable]:
    """Return the replacements of ids from sequences."""
    ids = {
        (table, row.pk): SQL("{} + n * {}").format(Literal(plan.first_id[table] + place), Literal(width))
        for table, width in plan.width.items()
        for place, row in enumerate(rows[table])
    }
    products = {product.sku: product.pk for product in Product.objects.filter(sku__in=_SKUS)}
    return {
        **ids,
        (Product, products[_A]): SQL("product_a"),
        (Product, products[_B]): SQL("product_b"),
        (CreditAccount, CreditAccount.objects.get(customer_email=_EMAIL).pk): SQL("account"),
    }


def _words(rows: _Rows) -> dict[str, Composable]:
    """Return the replacements of names, anywhere in a text."""
    (order,) = rows[Order]
    places = {str(value): SQL("id{}").format(SQL(str(place))) for place, value in enumerate(_uuids(rows))}
    words: dict[str, Composable] = {
        **places,
        order.number: SQL("number"),
        _EMAIL: SQL("email"),
        credit_account_id(customer_email=_EMAIL, currency=order.currency): SQL(
            "md5('credit account of ' || email || {})"
        ).format(Literal(f" in {order.currency}")),
        _NAME: SQL("name"),
        **dict(zip(_SKUS, (SQL("sku_a"), SQL("sku_b")), strict=True)),
        **dict(zip(_TITLES, (SQL("title_a"), SQL("title_b")), strict=True)),
    }
    for parcel in rows[Parcel]:
        # As the warehouse derives it from the parcel's id.
        made = SQL("'PX' || upper(right(replace({}, '-', ''), 14))").format(places[str(parcel.id)])
        words[parcel.tracking_number] = made
    if order.idempotency_key:
        words[order.idempotency_key] = SQL("'filling-' || number")
    return words


def _words_of_ids(plan: _Plan, rows: _Rows) -> dict[str, Composable]:
    """Return the replacements of the provider's reference, which contains the id of its row."""
    ids = _ids(plan, rows)
    return {
        f"fake_{charge.pk}": SQL("'fake_' || ({})").format(ids[FakeCharge, charge.pk]) for charge in rows[FakeCharge]
    }


def _insert(
    table: type[Model],
    rows: Iterable[Model],
    ids: Mapping[tuple[type[Model], int], Composable],
    words: Mapping[str, Composable],
) -> Composable:
    """Return the statement that writes these rows for every order of the story."""
    columns = table._meta.concrete_fields
    patterns = [
        SQL("({})").format(
            SQL(", ").join(
                _counted_on(row)
                if _is_sequence_of_account(row, column)
                else _pattern(column, getattr(row, column.attname), ids, words)
                for column in columns
            )
        )
        for row in rows
    ]
    return SQL("INSERT INTO {} ({}) SELECT pattern.* FROM story CROSS JOIN LATERAL (VALUES {}) AS pattern").format(
        Identifier(table._meta.db_table),
        SQL(", ").join([Identifier(str(column.column)) for column in columns]),
        SQL(", ").join(patterns),
    )


def _is_sequence_of_account(row: Model, column: Any) -> bool:
    return isinstance(row, Event) and row.aggregate == CreditHeld.aggregate and column.name == "sequence"


def _counted_on(event: Any) -> Composable:
    """Return the place of an event among those of its account: an order has two at most."""
    return SQL("2 * n::int + {}").format(Literal(1 if event.type == CreditHeld.type else 2))


def _pattern(
    column: Any,
    value: Any,
    ids: Mapping[tuple[type[Model], int], Composable],
    words: Mapping[str, Composable],
) -> Composable:
    """Return the expression for one column of one row."""
    if value is None:
        made: Composable = Literal(None)
    elif column.primary_key or column.is_relation or column.name == "log_position":
        made = ids.get((column.related_model or column.model, value)) or _woven(str(value), words)
    elif isinstance(value, datetime):
        made = SQL("{} + shift").format(Literal(value))
    elif isinstance(value, dict | list):
        made = _woven(json.dumps(value, ensure_ascii=False), words)
    elif isinstance(value, str | UUID):
        made = _woven(str(value), words)
    else:
        made = Literal(value)
    kind = str(column.db_type(connection))
    return SQL("({})::{}").format(made, SQL("text" if kind.startswith("varchar") else kind))


def _woven(text: str, words: Mapping[str, Composable]) -> Composable:
    """Return the text with all words replaced, longer ones first."""
    known = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    parts = [words.get(part) or Literal(part) for part in re.split(f"({known})", text) if part]
    return SQL(" || ").join(parts) if parts else Literal("")


def _settle(accounts: range) -> None:
    """Write the sum of the open holds to each account."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_creditaccount AS account SET held_minor = held.minor
            FROM (
                SELECT account_id, sum(amount_minor) AS minor
                FROM payments_credithold WHERE status = 'held' GROUP BY account_id
            ) AS held
            WHERE account.id = held.account_id AND account.id BETWEEN %s AND %s
            """,
            [accounts.start, accounts.stop - 1],
        )
