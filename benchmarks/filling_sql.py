"""The statements that copy the rows of a model order, with other ids, names and times."""

# ruff: noqa: SLF001 - `_meta` is documented API of Django

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model
from psycopg.sql import SQL, Composable, Identifier, Literal

from inventory.models import Parcel
from orders.models import Order, Product
from payments.events import CreditHeld, credit_account_id
from payments.models import CreditAccount, FakeCharge
from sagas.models import Event

from .filling_models import EMAIL, MS_AT, NAME, PRODUCTS, SKU_A, SKU_B, SKUS, TITLES, Rows, uuids_of
from .sequences import reserve_ids, reserve_numbers

#: A million orders are a year.
EVERY = timedelta(seconds=30)
#: Orders of one transaction; some seconds each, so that progress can be shown.
_PIECE = 10_000
_FIRST = ("Ada", "Alan", "Barbara", "Edsger", "Grace", "Ken", "Leslie", "Donald", "Radia", "Tony")
_LAST = ("Lovelace", "Turing", "Liskov", "Dijkstra", "Hopper", "Thompson", "Lamport", "Knuth", "Perlman", "Hoare")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The orders from `first` up to, but without, `end`; each has this many events."""

    first: int
    end: int
    events: int


class Plan:
    """The rows to write, and the numbers and ids that are reserved for them."""

    def __init__(self, *, orders: int, events: int, begin: datetime, accounts: range, models: Sequence[Rows]) -> None:
        self.orders, self.events, self.begin, self.accounts, self.models = orders, events, begin, accounts, models
        #: How many rows of a table an order has at most.
        self.width = {table: max(len(rows[table]) for rows in models) for table in models[0] if _is_counted(table)}
        self.width[Event] = -(-events // orders)
        self.first_id = {table: reserve_ids(table, width * orders) for table, width in self.width.items()}
        self.first_number = reserve_numbers(orders)

    def pieces(self) -> Iterator[Piece]:
        each, more = divmod(self.events, self.orders)
        for begin, end, events in ((0, more, each + 1), (more, self.orders, each)):
            for first in range(begin, end, _PIECE):
                yield Piece(first=first, end=min(first + _PIECE, end), events=events)


def _is_counted(table: type[Model]) -> bool:
    """Say whether ids of this table are given out by a sequence."""
    return table._meta.pk.get_internal_type() == "BigAutoField"


def story_statement(plan: Plan, piece: Piece, rows: Rows, *, shares: range) -> Composable:
    """Return the statement that stores all values that differ from order to order, a row for each order."""
    (order,) = rows[Order]
    uuids = [
        _uuid(value, since=order.id, salt=f"{plan.first_number}-{place}-", name=f"id{place}")
        for place, value in enumerate(uuids_of(rows))
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
        products=Literal(PRODUCTS),
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
    ).format(ms=Literal((value.int >> MS_AT) - (since.int >> MS_AT)), salt=Literal(salt), name=Identifier(name))


def id_replacements(plan: Plan, rows: Rows) -> dict[tuple[type[Model], int], Composable]:
    """Return the replacements of ids from sequences."""
    ids = {
        (table, row.pk): SQL("{} + n * {}").format(Literal(plan.first_id[table] + place), Literal(width))
        for table, width in plan.width.items()
        for place, row in enumerate(rows[table])
    }
    products = {product.sku: product.pk for product in Product.objects.filter(sku__in=SKUS)}
    return {
        **ids,
        (Product, products[SKU_A]): SQL("product_a"),
        (Product, products[SKU_B]): SQL("product_b"),
        (CreditAccount, CreditAccount.objects.get(customer_email=EMAIL).pk): SQL("account"),
    }


def word_replacements(rows: Rows) -> dict[str, Composable]:
    """Return the replacements of names, anywhere in a text."""
    (order,) = rows[Order]
    places = {str(value): SQL("id{}").format(SQL(str(place))) for place, value in enumerate(uuids_of(rows))}
    words: dict[str, Composable] = {
        **places,
        order.number: SQL("number"),
        EMAIL: SQL("email"),
        credit_account_id(customer_email=EMAIL, currency=order.currency): SQL(
            "md5('credit account of ' || email || {})"
        ).format(Literal(f" in {order.currency}")),
        NAME: SQL("name"),
        **dict(zip(SKUS, (SQL("sku_a"), SQL("sku_b")), strict=True)),
        **dict(zip(TITLES, (SQL("title_a"), SQL("title_b")), strict=True)),
    }
    for parcel in rows[Parcel]:
        # As the warehouse derives it from the parcel's id.
        made = SQL("'PX' || upper(right(replace({}, '-', ''), 14))").format(places[str(parcel.id)])
        words[parcel.tracking_number] = made
    if order.idempotency_key:
        words[order.idempotency_key] = SQL("'filling-' || number")
    return words


def reference_replacements(plan: Plan, rows: Rows) -> dict[str, Composable]:
    """Return the replacements of the provider's reference, which contains the id of its row."""
    ids = id_replacements(plan, rows)
    return {
        f"fake_{charge.pk}": SQL("'fake_' || ({})").format(ids[FakeCharge, charge.pk]) for charge in rows[FakeCharge]
    }


def insert_statement(
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
