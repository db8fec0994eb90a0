"""A trial: one case of a crash matrix, worked until nothing is left to do."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max

from ..core.cause import Cause, caused_by
from ..core.events import known_types
from ..core.saga import Saga
from ..core.statuses import LIVE_DELIVERIES, LIVE_RUNS
from ..models import Event, Run
from .boundaries import Boundary, Watch, WatchedBroker
from .broker import ErrorMessage, Killed, Message
from .cases import Case, Variant
from .clock import MovableClock
from .consistency import check, journal_of
from .paths import Path

#: Starts the saga at the given time: emits the event that starts it. Called again if nothing was committed.
Start = Callable[[datetime], object]
#: Maximum number of messages, relays and sweeps in a case; a run with a few retries needs dozens.
_MAX_TURNS = 400


class Trial:
    """One case of the crash matrix under way.

    Attributes:
        keys: the keys of its runs.
    """

    def __init__(self, saga: Saga[Any], start: Start, runs: int, case: Case) -> None:
        self.saga, self.start, self.runs, self.case = saga, start, runs, case
        self.clock = MovableClock()
        self.watch = Watch(path=case.path, on_boundary=self._at)
        self.broker = WatchedBroker(self.clock, self.watch)
        self.held: list[Message] = []
        self.keys: list[str] = []
        self.came_instead: Boundary | None = None
        #: The journal and the number of messages at the time when a worker without its lease came back.
        self.stood: tuple[Any, int] | None = None

    def run(self) -> None:
        self._start()
        self._go_on()
        # The delayed message arrives after the end.
        self.broker.messages += self.held
        self._go_on()
        if self.case.boundary is not None and not self.watch.fired:
            raise AssertionError(f"the saga does not do the same twice: here came {self.came_instead}")
        for key in self.keys:
            run = Run.objects.get(saga=self.saga.name, key=key)
            path = self.case.path if key == self.key else Path()
            check(self.saga, run, path=path, acted=[acted for acted in self.watch.acted if acted.of == key])

    @property
    def key(self) -> str:
        """Key of the run with the fault."""
        return self.keys[0] if self.keys else ""

    # The parts of a case, in order.

    def _start(self) -> None:
        last = Event.objects.aggregate(last=Max("position"))["last"] or 0
        started = Event.objects.filter(position__gt=last, type=self.saga.input.type)
        for number in range(self.runs):
            for _ in range(2):  # a caller without an answer tries again if nothing was committed
                if started.count() == number:
                    self._do("start", lambda: self.start(self.clock()))
        self.keys = list(started.order_by("position").values_list("key", flat=True))
        if len(self.keys) != self.runs:
            raise AssertionError(f"start() led to no event {self.saga.input.type}")
        self.watch.victim = self.key

    def _go_on(self) -> None:
        """Work until nothing is left, and move the clock to the next due time."""
        for _ in range(_MAX_TURNS):
            if waiting := self.broker.waiting:
                self._give_out(waiting[0])
                continue
            is_to_relay, due = left_to_do()
            if is_to_relay:
                self._do("relay", self.broker.relay)
            elif due is not None:
                self.clock.time = max(self.clock.time, due)
                self._do("sweep", self.broker.sweep)
            else:
                return
        raise AssertionError(f"it does not end: after {_MAX_TURNS} turns there is still something to do")

    def _give_out(self, message: Message) -> None:
        self._do(str(message).partition(".")[2].replace("_", "-"), lambda: self.broker.deliver(message), message)
        if self.stood is not None and not message.in_hand:
            stood, self.stood = self.stood, None
            if stood != self._standing():
                raise AssertionError("a worker whose lease had run out changed the journal, or sent a message")

    def _do(self, label: str, work: Callable[[], object], message: Message | None = None) -> None:
        try:
            phase = "" if message is None or isinstance(message.body, ErrorMessage) else "claim"
            with self.watch.handling(label, phase=phase, has_message=message is not None):
                work()
        except Killed:
            self.watch.dead = False
            if message is not None and self.case.variant is Variant.CRASH_AND_LOST:
                self.broker.drop(message)

    # The faults.

    def _at(self, boundary: Boundary) -> None:
        if len(self.watch.seen) - 1 != self.case.index:
            return
        if str(boundary) != str(self.case.boundary):
            # Not raised here: the engine would treat it as a failure of the step.
            self.came_instead = boundary
            return
        self.watch.fired = True
        match self.case.variant:
            case Variant.CRASH | Variant.CRASH_AND_BACK | Variant.CRASH_AND_LOST:
                self.watch.kill()
            case Variant.DOUBLED:
                self.broker.fate = lambda message: self.broker.messages.append(Message(message.body))
            case Variant.LOST:
                self.broker.fate = self.broker.drop
            case Variant.LATE:
                self.broker.fate = self._hold
            case Variant.LEASE:
                self._be_overtaken()

    def _hold(self, message: Message) -> None:
        self.broker.drop(message)
        self.held.append(message)

    def _be_overtaken(self) -> None:
        """Let the lease expire and other workers finish the work, before this worker continues."""
        with caused_by(Cause()):
            self._go_on()
        self.stood = self._standing()

    def _standing(self) -> tuple[Any, int]:
        return [journal_of(key) for key in self.keys], self.broker.published


#: Executed after each part of a case: one statement, which Django need not compile.
_LEFT_TO_DO = """
    SELECT
        EXISTS (SELECT FROM sagas_event WHERE log_position IS NULL AND type = ANY(%s)),
        LEAST(
            (SELECT min(due_at) FROM sagas_run WHERE status = ANY(%s)),
            (SELECT min(due_at) FROM sagas_delivery WHERE status = ANY(%s))
        )
"""


def left_to_do() -> tuple[bool, datetime | None]:
    """Say whether there are events to relay, and when the next run or delivery is due."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT_TO_DO, [list(known_types()), [*map(str, LIVE_RUNS)], [*map(str, LIVE_DELIVERIES)]])
        answer: tuple[bool, datetime | None] = cursor.fetchone()
    return answer
