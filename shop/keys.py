"""Labels of the keys of runs and deliveries, in this shop numbers of orders; amounts as money."""

from collections.abc import Collection
from uuid import UUID

from django.urls import reverse

from backoffice.customers import identity
from orders import selectors as orders
from sagas.core.key_names import KeyLabel, KeyNames

from .reconciliation.facts import shown_facts


def _named(keys: Collection[str]) -> dict[str, KeyLabel]:
    ids = [order_id for key in keys if (order_id := _id(key)) is not None]
    return {
        str(order_id): KeyLabel(noun="order", name=number, url=reverse("admin:orders_order_change", args=[order_id]))
        for order_id, number in orders.numbers(ids).items()
    }


def _key_of(text: str) -> str | None:
    if "@" in text:
        return identity(text)
    order_id = orders.numbered(text.strip().upper())
    return None if order_id is None else str(order_id)


def _id(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None


KEY_NAMES = KeyNames(
    named=_named,
    key_of=_key_of,
    example="the id or the number of an order",
    notes={
        "undo": "The customer reads that it could not be carried out, not the reason.",
        "cancel": "The customer reads the reason.",
    },
    shown_facts=shown_facts,
)
