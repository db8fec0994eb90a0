"""The history of an order: its state at any moment, as the events of all contexts add up to it.

Two clocks: an event says when it happened (`occurred_at`, by the database's clock), and stands in an order of writing
(`position`). What was written later may say that it happened earlier: whoever wrote it looked at the clock, then waited
for a lock or a provider. The order of writing decides: an event counts from the moment at which it and all before it
had happened, so that a state of any moment is one that the order passed through.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from inventory.history import GOODS, GoodsState
from notifications.history import TOLD, ToldState
from orders.history import ORDER, OrderState
from payments.history import MONEY, MoneyState
from sagas.core.events import StoredEvent
from sagas.core.folds import State
from sagas.operations import queries as sagas
from sagas.operations.queries import Event


class Whole(State):
    """All there is to know of an order at some moment."""

    order: OrderState = ORDER.start
    goods: GoodsState = GOODS.start
    money: MoneyState = MONEY.start
    told: ToldState = TOLD.start

    def after(self, event: StoredEvent) -> "Whole":
        """Return what an event of any context makes of it.

        Raises:
            UnreadableEventError: a payload that today's code cannot read.
        """
        return Whole.model_construct(
            order=ORDER.next(self.order, event),
            goods=GOODS.next(self.goods, event),
            money=MONEY.next(self.money, event),
            told=TOLD.next(self.told, event),
        )


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something happened, all that happened then, and what the order was afterwards."""

    at: datetime
    events: tuple[Event, ...]
    state: Whole


@dataclass(frozen=True, kw_only=True)
class History:
    """The moments of an order, oldest first."""

    moments: tuple[Moment, ...]

    def moment(self, at: datetime) -> Moment | None:
        """Return the last moment that is not after `at`; None before the first."""
        place = bisect_right(self.moments, at, key=lambda moment: moment.at)
        return self.moments[place - 1] if place else None

    def as_of(self, at: datetime) -> Whole:
        """Return what the order was at that moment, with all that happened at it."""
        moment = self.moment(at)
        return Whole() if moment is None else moment.state


def history(order_id: UUID) -> History:
    """Return the history of an order; one statement, however long it is.

    Raises:
        UnreadableEventError: a payload that today's code cannot read.
    """
    return folded(sagas.events_of(str(order_id)))


def folded(events: Iterable[Event]) -> History:
    """Return the history that events, in their order of writing, add up to."""
    state, moments = Whole(), []
    for at, together in groupby(_timed(events), key=lambda timed: timed[0]):
        of_this_moment = tuple(event for _, event in together)
        for event in of_this_moment:
            state = state.after(event)
        moments.append(Moment(at=at, events=of_this_moment, state=state))
    return History(moments=tuple(moments))


def _timed(events: Iterable[Event]) -> Iterable[tuple[datetime, Event]]:
    """Yield each event with the moment from which it counts."""
    latest = None
    for event in events:
        latest = event.occurred_at if latest is None else max(latest, event.occurred_at)
        yield latest, event
