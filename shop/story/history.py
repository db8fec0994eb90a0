"""The history of an order: its state at any moment, computed from the events of all contexts.

Each event has a time (`occurred_at`, by the database's clock) and a position in the order of writing (`position`). A
later event may have an earlier time: its writer read the clock, then waited for a lock or a provider. The order of
writing decides: an event counts from the moment at which it and all events before it had happened, so that the state at
any moment is one that the order really had.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from inventory.history import GOODS, GoodsState
from notifications.history import NOTIFICATIONS, NotificationsState
from orders.history import ORDER, OrderState
from payments.history import MONEY, MoneyState
from sagas.core.events import StoredEvent
from sagas.core.folds import State
from sagas.operations import queries as sagas
from sagas.operations.queries import Event


class OrderAsOf(State):
    """The state of an order in all contexts at one moment."""

    order: OrderState = ORDER.start
    goods: GoodsState = GOODS.start
    money: MoneyState = MONEY.start
    notifications: NotificationsState = NOTIFICATIONS.start

    def after(self, event: StoredEvent) -> "OrderAsOf":
        """Return the state after an event of any context.

        Raises:
            UnreadableEventError: a payload that today's code cannot read.
        """
        return OrderAsOf.model_construct(
            order=ORDER.next(self.order, event),
            goods=GOODS.next(self.goods, event),
            money=MONEY.next(self.money, event),
            notifications=NOTIFICATIONS.next(self.notifications, event),
        )


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment, its events, and the state of the order after them."""

    at: datetime
    events: tuple[Event, ...]
    state: OrderAsOf


@dataclass(frozen=True, kw_only=True)
class History:
    """The moments of an order, oldest first."""

    moments: tuple[Moment, ...]

    def moment(self, at: datetime) -> Moment | None:
        """Return the last moment that is not after `at`; None before the first."""
        place = bisect_right(self.moments, at, key=lambda moment: moment.at)
        return self.moments[place - 1] if place else None

    def as_of(self, at: datetime) -> OrderAsOf:
        """Return the state of the order at a moment, including the events of that moment."""
        moment = self.moment(at)
        return OrderAsOf() if moment is None else moment.state


def history(order_id: UUID) -> History:
    """Return the history of an order; one statement, however many events.

    Raises:
        UnreadableEventError: a payload that today's code cannot read.
    """
    return folded(sagas.events_of(str(order_id)))


def folded(events: Iterable[Event]) -> History:
    """Return the history from events, in their order of writing."""
    state, moments = OrderAsOf(), []
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
