"""The search for orders: the typed text decides which index is used."""

import re
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from backoffice.customers import identity
from inventory import selectors as inventory
from orders import selectors as orders

from ..importing.placing import KEY_PREFIX

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_NUMBER = re.compile(r"[sS]\d+")
#: Separators of words in names and e-mail addresses, as in `orders.models.words_of_customer`.
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def searched(found: QuerySet[Any], typed: str) -> QuerySet[Any]:
    """Return the orders that match a typed text."""
    term = typed.strip().replace("\x00", "")
    if not term:
        return found
    if _NUMBER.fullmatch(term):
        # In the order of the index: otherwise the number of an old order is searched among all newer ones.
        return found.filter(number__startswith=term.upper()).order_by("-number")
    return found.filter(_meant(term))


def _meant(term: str) -> Any:
    """Return the first condition that an order meets; words of the customer come last."""
    if (order_id := _as_uuid(term)) is not None:
        return Q(id=order_id)
    if _EMAIL.fullmatch(term) and orders.of_customer(term, limit=1):
        return Q(customer_email=identity(term))
    ids = orders.placed_under(f"{KEY_PREFIX}{term}")
    if (order_id := inventory.order_of_parcel(term)) is not None:
        ids.append(order_id)
    if ids:
        return Q(id__in=ids)
    words = [word for word in _BETWEEN_WORDS.split(term) if word]
    return orders.of_product(term) or (orders.named_like(words) if words else Q(pk__in=[]))


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
