"""The part of an order's story for clients of the API: what happened and when, without texts for staff."""

from dataclasses import replace
from uuid import UUID

from sagas.db import clock
from shop.story.entries import Entry
from shop.story.standing import Standing
from shop.story.timeline import story
from shop.story.words import CLIENTS, words

#: The keys of `data` that clients get, by kind of entry; of other kinds, all.
_DATA = {
    "run": ("id", "saga"),
    "step": ("name", "attempts", "result"),
    "undo": ("name", "attempts", "result"),
    "attempt": ("number", "retry_at"),
    "delivery": ("subscription", "event", "attempts"),
    "intervention": ("action",),
}


def story_of(order_id: UUID) -> tuple[Standing, list[Entry]]:
    """Return the standing of an order, and its timeline, for clients.

    Raises:
        LookupError: there is no such order.
    """
    standing, entries = story(order_id, now=clock.now(), to=CLIENTS)
    return standing, [_for_clients(entry) for entry in entries]


def _for_clients(entry: Entry) -> Entry:
    shown = _DATA.get(entry.kind, tuple(entry.data))
    data = {name: value for name, value in entry.data.items() if name in shown}
    if entry.kind == "intervention":
        return replace(entry, title=f"{words(entry.data['action'])} by staff", detail="", data=data)
    return replace(entry, detail="" if entry.status == "skipped by hand" else entry.detail, data=data)
