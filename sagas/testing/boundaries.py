"""Where a process may die: on either side of every commit, every publication and every call of an action.

Boundaries are listed nowhere: they are met while a saga runs, so one commit more brings two boundaries more.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .broker import Body, Broker, Killed, Message
from .clock import Clock
from .paths import Fault, Path

When = Literal["before", "after"]
What = Literal["commit", "publish", "call"]

_KINDS = ("run", "undo", "probe", "react")
#: A statement that is a commit of its own, where it stands in no transaction.
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|CALL|COPY|WITH)\b", re.IGNORECASE)
#: What Django still says while it leaves the transaction of a process that was killed.
_UNWINDS = re.compile(r"\s*(ROLLBACK|RELEASE)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """A point on one side of something that happens.

    Attributes:
        number: counts what is of one kind within one case, from 1.
        where: what is under way, and how far it is.
        has_message: a worker has a message in hand.
        leased: it is a call outside, under a lease.
        same_as_last: since the boundary before it nothing happened that outlives the process: no commit, no
            publication, no code of an action. A crash here and a crash there are one.
    """

    when: When
    what: What
    number: int
    where: str
    has_message: bool
    leased: bool
    same_as_last: bool

    def __str__(self) -> str:
        return f"{self.when} {self.what} {self.number} ({self.where})"


@dataclass(eq=False, kw_only=True)
class Acted:
    """One call of an action.

    Attributes:
        kind: `run`, `undo`, `probe` or `react`.
        name: the step's or the subscription's.
        of: the key of the run, or of the event.
        stands: it took effect, and the transaction it belongs to is committed.
        failed: it raised and said that it had no effect.
        returned: it did not raise.
    """

    kind: str
    name: str
    of: str
    key: str
    outside: bool
    stands: bool = False
    failed: bool = False
    returned: bool = False

    def __call__(self) -> None:
        """Its transaction is committed."""
        self.stands = True


@dataclass(kw_only=True)
class Watch:
    """Sees the boundaries and the calls of one case.

    Attributes:
        victim: the key of the run that things go wrong for; the others are its neighbours.
        on_boundary: called at each boundary until it has `fired`; kills with `kill()`.
        dead: the process was killed; what it still tries does not happen.
    """

    path: Path = field(default_factory=Path)
    victim: str = ""
    on_boundary: Callable[[Boundary], None] = lambda _: None
    seen: list[Boundary] = field(default_factory=list)
    acted: list[Acted] = field(default_factory=list)
    fired: bool = False
    dead: bool = False
    label: str = ""
    phase: str = ""
    has_message: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    #: Code of others may run before the next boundary: an action, a callback of a commit, another handler.
    in_between: bool = True

    def reach(
        self, when: When, what: What, *, where: str = "", leased: bool = False, more_follows: bool = False
    ) -> None:
        """Meet a boundary.

        Args:
            more_follows: code of others runs right after it.

        Raises:
            Killed: the process dies here, or is dead already.
        """
        if self.dead:
            raise Killed
        if self.fired:
            return
        if when == "before":
            self.counts[what] += 1
        boundary = Boundary(
            when=when,
            what=what,
            number=self.counts[what],
            where=where or ": ".join(filter(None, (self.label, self.phase))),
            has_message=self.has_message,
            leased=leased,
            same_as_last=when == "before" and not self.in_between,
        )
        self.in_between = more_follows or when == "before" or (self.phase in _KINDS and what != "call")
        self.seen.append(boundary)
        self.on_boundary(boundary)

    def kill(self) -> NoReturn:
        """End the process under test."""
        self.fired = self.dead = True
        raise Killed

    @contextmanager
    def handling(self, label: str, *, phase: str, has_message: bool) -> Iterator[None]:
        """Say what is under way inside."""
        before = self.label, self.phase, self.has_message
        self.label, self.phase, self.has_message = label, phase, has_message
        self.in_between = True
        try:
            yield
        finally:
            self.label, self.phase, self.has_message = before

    def fault_of(self, acted: Acted) -> Fault | None:
        """Return what is to go wrong with this call, on this path."""
        if acted.of != self.victim:
            return None
        wrong = next(
            (fault for name, kind, fault in self.path.faults if (name, kind) == (acted.name, acted.kind)), None
        )
        once = (acted.name, acted.kind, wrong)
        if wrong is not None and wrong is not Fault.REJECTED:
            self.counts[str(once)] += 1
            return wrong if self.counts[str(once)] == 1 else None
        return wrong


class WatchedBroker(Broker):
    """A broker whose publications are boundaries."""

    def __init__(self, clock: Clock, watch: Watch) -> None:
        super().__init__(clock)
        self.watch = watch
        self.published = 0
        #: What happens to the message that is being published.
        self.fate: Callable[[Message], None] | None = None

    def publish(self, body: Body) -> Message:
        if connection.in_atomic_block:
            raise AssertionError(f"{body.name} is published before the commit of what it speaks of")
        where = f"{self.watch.label}: send {body.name}"
        self.watch.reach("before", "publish", where=where)
        message = super().publish(body)
        self.published += 1
        fate, self.fate = self.fate, None
        if fate is not None:
            fate(message)
        self.watch.reach("after", "publish", where=where)
        return message


# Commits ---------------------------------------------------------------------------------------------------------


@contextmanager
def commits_watched(watch: Callable[[], Watch]) -> Iterator[None]:
    """Make every outermost commit of this thread's connections a boundary inside.

    Killed before it: rolled back. Killed after it: committed, and nothing that waited for the commit is called.
    """
    with ExitStack() as stack:
        for database in connections.all():
            stack.enter_context(_commits_of(database, watch))
        yield


@contextmanager
def _commits_of(database: BaseDatabaseWrapper, watch: Callable[[], Watch]) -> Iterator[None]:
    commit = database.commit

    def watched_commit() -> None:
        try:
            watch().reach("before", "commit")
        except Killed:
            database.rollback()
            raise
        commit()
        for waiting in database.run_on_commit:
            if isinstance(waiting[1], Acted):
                waiting[1]()
        # The engine's own callback wakes the relay, which looks anyway.
        others = any(not waiting[1].__module__.startswith("sagas.") for waiting in database.run_on_commit)
        try:
            watch().reach("after", "commit", more_follows=others)
        except Killed:
            database.run_on_commit = []
            raise

    def watched_statement(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's signature
        if database.in_atomic_block:
            if watch().dead and not _UNWINDS.match(str(sql)):
                raise Killed
            return execute(sql, params, many, context)
        if not _WRITES.match(str(sql)):
            return execute(sql, params, many, context)
        watch().reach("before", "commit")
        result = execute(sql, params, many, context)
        watch().reach("after", "commit")
        return result

    database.commit = watched_commit  # type: ignore[method-assign]
    try:
        with database.execute_wrapper(watched_statement):
            yield
    finally:
        del database.commit
