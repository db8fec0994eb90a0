"""The work queue: rows of every kind that need a person, filtered, in one list, a page at a time.

Findings of the reconciliation are shown beside the list: they have other actions.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.db.models import Count, Model, QuerySet, TextField, Value
from django.db.models.functions import Cast

from . import subjects
from .subject import STOPPED, Filter, Subject

#: All subjects that need a person.
WAITING = Filter(status=STOPPED)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The number of subjects that wait for the same reason."""

    kind: str
    process: str
    step: str
    error: str
    count: int


def kinds() -> list[type[Subject[Any]]]:
    """Return the kinds that can be in the queue."""
    return [kind for kind in subjects.KINDS.values() if kind.tag]


def _chosen(names: Collection[str] | None) -> list[type[Subject[Any]]]:
    return [kind for kind in kinds() if names is None or kind.kind in names]


def groups(meant: Filter, names: Collection[str] | None = None) -> list[Group]:
    """Return the numbers of matching subjects, by reason; a query for each kind.

    Args:
        names: kinds to count; all if not given.
    """
    found = []
    for kind in _chosen(names):
        process, step, error = kind.reasons()
        rows = kind.meant(meant).order_by().annotate(of_process=process, at_step=step, with_error=error)
        counted = rows.values_list("of_process", "at_step", "with_error").annotate(count=Count("pk"))
        found += [
            Group(kind=kind.kind, process=process, step=step or "", error=error or "", count=count)
            for process, step, error, count in counted
        ]
    return sorted(found, key=lambda group: -group.count)


def page(meant: Filter, *, offset: int = 0, limit: int = 50, names: Collection[str] | None = None) -> list[Model]:
    """Return a page of matching subjects, the longest waiting first; one query, and one for each kind."""
    lines = [_line(kind, meant) for kind in _chosen(names)]
    if not lines:
        return []
    rows = lines[0].union(*lines[1:], all=True).order_by("since", "ref")[offset : offset + limit]
    return subjects.fetch([(kind, ref) for kind, ref, _ in rows])


def _line(kind: type[Subject[Any]], meant: Filter) -> QuerySet[Any, Any]:
    rows = kind.meant(meant).order_by()
    rows = rows.annotate(what=Value(kind.kind), ref=Cast("pk", TextField()), since=kind.since())
    line: QuerySet[Any, Any] = rows.values_list("what", "ref", "since")
    return line


def every(meant: Filter, names: Collection[str] | None = None) -> Iterator[Model]:
    """Yield all matching rows, in the order in which they are locked, as they are read."""
    return chain.from_iterable(kind.meant(meant).only(*kind.read).order_by("pk").iterator() for kind in _chosen(names))


def of_key(key: str) -> list[Model]:
    """Return the open runs and the parked deliveries of a key; a query for each kind."""
    return [row for kind in kinds() for row in kind.meant(Filter(key=key)).order_by("pk")]
