"""The kinds of subjects, by name. A further kind is a class, put into `KINDS` in an app's `ready`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db.models import Model

from ..core import registry
from ..core.statuses import Action
from . import queries
from .deliveries import DeliverySubject
from .followers import FollowerSubject
from .operation import Operation
from .runs import RunSubject
from .subject import Subject
from .summary import Summary

#: In the order in which they are shown. Interventions lock their rows in the reverse order: a follower needs the lock
#: of the log, and the relay, which holds it, may wait for the rows of a run.
KINDS: dict[str, type[Subject[Any]]] = {kind.kind: kind for kind in (RunSubject, DeliverySubject, FollowerSubject)}


def with_action(action: str) -> list[tuple[type[Subject[Any]], Operation[Any]]]:
    """Return the kinds that have an action, each with its operation."""
    found = ((kind, kind.operation(action)) for kind in KINDS.values())
    return [(kind, operation) for kind, operation in found if operation is not None]


def actions() -> list[Action]:
    return [action for action in Action if with_action(action)]


def kind_of(row: Model) -> type[Subject[Any]]:
    return next(kind for kind in KINDS.values() if kind.model is type(row))


def of(row: Model) -> Subject[Any]:
    """Return the subject of a row, without the data that only `load` reads."""
    return kind_of(row)(row)


def load(rows: Sequence[Model]) -> list[Subject[Any]]:
    """Return the subjects of rows, in their order, with all data that is shown; some statements for each kind."""
    by_kind: dict[type[Subject[Any]], list[Model]] = defaultdict(list)
    for row in rows:
        by_kind[kind_of(row)].append(row)
    loaded = {(kind.kind, str(each.row.pk)): each for kind, found in by_kind.items() for each in kind.load(found)}
    return [loaded[kind_of(row).kind, str(row.pk)] for row in rows]


def fetch(refs: Sequence[tuple[str, str]]) -> list[Model]:
    """Return the rows of these kinds and primary keys in this order, as far as they exist; a query for each kind."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for kind, pk in refs:
        wanted[kind].append(pk)
    found = {(kind, str(row.pk)): row for kind, pks in wanted.items() for row in KINDS[kind].rows(pks)}
    return [found[ref] for ref in refs if ref in found]


def summaries(rows: Sequence[Model], *, now: datetime) -> list[Summary]:
    """Return the summaries of rows: as many statements for many as for one, besides those for labels."""
    loaded = load(rows)
    named = registry.named({each.key for each in loaded if each.key})
    pauses = queries.pauses([(each.kind, str(each.row.pk)) for each in loaded if each.status == "paused"])
    return [
        replace(each.summary(named.get(each.key), now=now), paused=pauses.get((each.kind, str(each.row.pk)), ""))
        for each in loaded
    ]


def possible(row: Model, *, now: datetime) -> list[Action]:
    """Return the actions that apply to a row now."""
    (subject,) = load([row])
    return subject.possible(now=now)


def describe(action: Action, kinds: Iterable[str]) -> list[tuple[type[Subject[Any]], str]]:
    """Return the description of an action for each of these kinds, with the project's note about it."""
    note = registry.note_on(action)
    return [
        (kind, f"{operation.description} {note}".strip())
        for kind, operation in with_action(action)
        if kind.kind in kinds
    ]
