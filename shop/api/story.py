"""What of an order's story a client of the API gets: what happened and when, and no word that is meant for staff."""

from dataclasses import replace
from uuid import UUID

from sagas.db import clock
from shop.story.entries import Entry
from shop.story.standing import Standing
from shop.story.timeline import story
from shop.story.words import CLIENTS, words

#: Of each kind; of others, all.
_DATA = {
    "run": ("id", "saga"),
    "step": ("name", "attempts", "result"),
    "undo": ("name", "attempts", "result"),
    "attempt": ("number", "retry_at"),
    "delivery": ("subscription", "event", "attempts"),
    "intervention": ("action",),
}


def story_of(order_id: UUID) -> tuple[Standing, list[Entry]]:
    """Return where an order stands, and its timeline, as clients read them.

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
