"""Points at which a process may die: before and after every commit, every publication and every call of an action.

Boundaries are not listed: they are recorded while a saga runs, so a further commit adds two boundaries.
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
#: A statement that is its own commit if it is outside of a transaction.
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|CALL|COPY|WITH)\b", re.IGNORECASE)
#: Statements that Django still sends while it leaves the transaction of a killed process.
_UNWINDS = re.compile(r"\s*(ROLLBACK|RELEASE)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """A point before or after a commit, a publication or a call.

    Attributes:
        number: number of the boundary among those of its kind in one case, from 1.
        where: the current work, and its progress.
        has_message: a worker is handling a message.
        leased: it is in a call outside, under a lease.
        same_as_last: since the previous boundary nothing happened that outlives the process: no commit, no publication,
            no code of an action. A crash at either has the same effect.
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
        name: name of the step or of the subscription.
        of: key of the run, or of the event.
        stands: it took effect, and the transaction it belongs to is committed.
        failed: it raised an exception that says it had no effect.
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
    """Records the boundaries and the calls of one case.

    Attributes:
        victim: key of the run with the fault; the others are its neighbours.
        on_boundary: called at each boundary until it has `fired`; kills with `kill()`.
        dead: the process was killed; what it still tries has no effect.
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
    #: Other code may run before the next boundary: an action, a callback of a commit, another handler.
    in_between: bool = True

    def reach(
        self, when: When, what: What, *, where: str = "", leased: bool = False, more_follows: bool = False
    ) -> None:
        """Record a boundary.

        Args:
            more_follows: other code runs right after it.

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
        """Set the description of the current work, inside."""
        before = self.label, self.phase, self.has_message
        self.label, self.phase, self.has_message = label, phase, has_message
        self.in_between = True
        try:
            yield
        finally:
            self.label, self.phase, self.has_message = before

    def fault_of(self, acted: Acted) -> Fault | None:
        """Return the fault of this call on this path."""
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
        #: The fate of the message that is being published.
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
    """Inside, make every outermost commit of this thread's connections a boundary.

    Killed before it: rolled back. Killed after it: committed, and no `on_commit` callback is called.
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
        # The engine's own callback only wakes the relay, which runs anyway.
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
