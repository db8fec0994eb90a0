"""Texts about what waits for a person on an order."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backoffice.moments import moment
from orders.selectors import Order
from sagas.operations import attention
from sagas.operations.attention_reasons import Attention, Why

from .reactions import title_of
from .words import ended, tries_of

#: Longer than a card payment with all its tries, which takes well under a minute.
SUSPICIOUS_AFTER = timedelta(minutes=5)
_BADGES = {
    Why.STOPPED: "Needs a person",
    Why.PAUSED: "Paused",
    Why.HELD_BACK: "Subscription paused",
    Why.NOT_TAKEN: "No worker",
    Why.SWITCHED_OFF: "Switched off",
    Why.PARKED: "Gave up",
    Why.FINDING: "Does not balance",
}


def badges(listed: Iterable[Attention]) -> tuple[str, ...]:
    """Return what waits for a person, each in a few words."""
    return tuple(dict.fromkeys(_BADGES[each.why] for each in listed))


def sentence(each: Attention, *, choreographed: bool = False) -> str:
    """Return a sentence about what waits for a person: its subject, since when, and why."""
    title = f"“{title_of(each.name, choreographed=choreographed)}”" if each.name else "Its newest event"
    return {
        Why.STOPPED: f"It is stuck{f' at {title}' if each.name else ''} and needs a person{_because(each.message)}",
        Why.PAUSED: f"It has been paused{f' at {title}' if each.name else ''} {_paused(each)}",
        Why.HELD_BACK: f"{title} has been paused for all orders {_paused(each)}",
        Why.NOT_TAKEN: f"{title} has waited since {moment(each.since)}: {_no_worker(each.queue, each.alive_at)}",
        Why.SWITCHED_OFF: f"{title} has waited since {moment(each.since)}: this shop is set to leave it alone.",
        Why.PARKED: f"{title} gave up after {tries_of(each.tries)} and needs a person{_because(each.message)}",
        Why.FINDING: ended(each.message),
    }[each.why]


def _because(message: str) -> str:
    return f": {ended(message)}" if message else "."


def _paused(each: Attention) -> str:
    why = f" ({each.by}: “{each.message.rstrip('.')}”)" if each.by else ""
    return f"since {moment(each.since)}{why}. It goes on when a person resumes it."


def _no_worker(queue: str, alive_at: datetime | None) -> str:
    last = "has ever given a sign of life" if alive_at is None else f"has given a sign of life since {moment(alive_at)}"
    return f"no worker of the queue “{queue}” {last}."


class Marked(NamedTuple):
    """The mark of an order in a list that waits for a person."""

    badges: tuple[str, ...]
    text: str


def of_orders(orders: Sequence[Order], *, now: datetime) -> dict[UUID, Marked]:
    """Return the orders that wait for a person; as many statements as for one."""
    found = attention.of([str(order.id) for order in orders], now=now)
    marked: dict[UUID, Marked] = {}
    for order in orders:
        if listed := found.get(str(order.id)):
            marked[order.id] = Marked(badges(listed), " ".join(map(sentence, listed)))
        elif order.status == Order.Status.PENDING and now - order.placed_at > SUSPICIOUS_AFTER:
            marked[order.id] = Marked(("Still pending",), f"It is still pending, since {moment(order.placed_at)}.")
    return marked
