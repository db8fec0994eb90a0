"""The relay driven by the write-ahead log: it receives new events instead of polling the outbox."""

import time
from collections.abc import Collection, Sequence

from ..core import registry
from ..core.events import known_types
from ..log.relay import new_events
from ..messaging import tasks
from ..models import Event
from .capture import Capture, Portion
from .slots import Publication, Slot

#: Maximum number of remembered positions. With more, the relay uses the outbox's index of new events.
_MAX_UNPLACED = 10_000
#: Maximum seconds between two turns, also without a new event: for subscriptions that catch up, and for the sweep.
_TURN_SECONDS = 1.0
#: Seconds between two reads of the outbox, for events that the log does not show: an event that was sent again by hand,
#: or one written while the publication was made anew.
_ASK_SECONDS = 30.0
#: Pause while another relay has the lock.
_BUSY_SECONDS = 0.05


def slot(name: str) -> Slot:
    """Return a slot for new events, with the columns that the relay needs."""
    publication = Publication(name=name, tables={"sagas_event": ("position", "type")}, actions="insert")
    return Slot(name=name, publications=(publication,))


class WalRelay:
    """Makes turns of the relay for the events that a slot sends.

    Note [Behind]: at the start, after an outage, and with too many positions to remember, the relay reads the outbox's
    index, as it does without the log, until the index has no new event. So everything the slot sent before may be
    confirmed after any turn: if this process dies, the next one starts in the same state, and reads the index.
    Otherwise a position is confirmed once its event has a place in the log, by this relay or by another.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        #: Positions of events that have no place in the event log yet, in the order in which the slot sent them; each
        #: with the position that may be confirmed while it has none.
        self._unplaced: dict[int, int] = {}
        self._confirmable = 0
        self._behind = True
        #: One of them has a reaction: a turn is due.
        self._due = True
        self._turned_at = self._asked_at = time.monotonic()

    def work(self) -> None:
        """Receive new events for a second at most, and make a turn if one is due."""
        left = self._turned_at + _TURN_SECONDS - time.monotonic()
        self._hear(self._capture.take(0.0 if self._due else max(0.0, left)))
        if time.monotonic() - self._asked_at > _ASK_SECONDS:
            self._behind = True
        if self._due or self._behind or time.monotonic() - self._turned_at >= _TURN_SECONDS:
            self._turn()

    def _hear(self, portions: Sequence[Portion]) -> None:
        for portion in portions:
            for change in portion.changes:
                if not self._behind:
                    self._unplaced.setdefault(int(str(change.new["position"])), self._confirmable)
                self._due = self._due or bool(registry.reactions_to(str(change.new["type"])))
            self._confirmable = portion.end or self._confirmable
        if len(self._unplaced) > _MAX_UNPLACED:
            self._behind = True

    def _turn(self) -> None:
        received_up_to, asked = self._capture.position, list[list[tuple[int, str]]]()

        def new(limit: int, low_priority: bool) -> list[tuple[int, str]]:  # noqa: FBT001 - as `relay.FindNew`
            asked.append(self._new(limit, low_priority))
            return asked[-1]

        relayed = tasks.relay_turn(new)
        self._turned_at = time.monotonic()
        if not asked:  # another relay has the lock
            self._due = self._due or bool(self._unplaced)
            time.sleep(_BUSY_SECONDS)
            return
        (taken,) = asked
        if self._behind:
            self._unplaced.clear()
            self._behind, self._asked_at = bool(taken), self._turned_at
        else:
            self._settle(taken)
        self._capture.confirm(next(iter(self._unplaced.values()), received_up_to))
        self._due = relayed.more or self._behind or bool(self._unplaced)

    def _new(self, limit: int, low_priority: bool) -> list[tuple[int, str]]:  # noqa: FBT001 - as `relay.FindNew`
        if self._behind:
            return new_events(limit, low_priority)
        return new_events(limit, low_priority, among=self._unplaced) if self._unplaced else []

    def _settle(self, taken: Sequence[tuple[int, str]]) -> None:
        """Forget positions that have a place in the log now, and those that this relay does not number."""
        for position, _ in taken:
            del self._unplaced[position]
        if self._unplaced and len(taken) < tasks.turn_limit():
            left = _without_a_place(self._unplaced)
            self._unplaced = {position: lsn for position, lsn in self._unplaced.items() if position in left}
            # An event that the slot did not send stands before these.
            self._behind = bool(left) and not taken


def _without_a_place(positions: Collection[int]) -> set[int]:
    """Return the events that have no place in the log yet, of the types this process knows."""
    found = Event.objects.filter(position__in=list(positions), log_position=None, type__in=known_types())
    return set(found.values_list("position", flat=True))
