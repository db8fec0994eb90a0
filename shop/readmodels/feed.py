"""A customer's feed in Redis: events of their orders, newest first.

It is behind the log by about a second. A new order is shown at once: orders that are newer than the feed are read from
the database and added. So it also works while Redis is away or empty.

Keys: `feed` → the generation `g` that serves, `feed:shadow` → the generation that a rebuild makes; `feed:g` → hash of
`position` and `as_of`; `feed:g:e-mail` → sorted set of entries by time in milliseconds. Every writer writes the same
text for an entry.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import structlog
from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from backoffice.customers import identity
from backoffice.money import formatted
from inventory.events import ShipmentBooked
from orders import selectors as orders
from orders.events import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from payments.events import PaymentRefunded
from sagas.core.read_model import Difference, ReadModel, Recorded
from sagas.operations import queries

logger = structlog.get_logger(__name__)

#: Maximum number of entries of a customer.
LENGTH = 100
#: Maximum time from an order's `placed_at` to its commit.
_LATE = timedelta(minutes=1)
_ROOT, _SHADOW = "feed", "feed:shadow"


@dataclass(frozen=True, kw_only=True)
class FeedEntry:
    """One line of a feed; `at` in milliseconds since 1970, UTC."""

    order_id: str
    number: str
    what: str
    note: str
    at: int

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.at / 1000, UTC)


def _redis() -> Any:
    """Return a client with a timeout of one second.

    Raises:
        RedisError: the broker is not a Redis, and FEED_REDIS_URL is not set.
    """
    if not settings.FEED_REDIS_URL:
        raise RedisError("FEED_REDIS_URL is not set")
    return _client(settings.FEED_REDIS_URL)


@cache
def _client(url: str) -> Any:
    return Redis.from_url(url, decode_responses=True, socket_timeout=1, socket_connect_timeout=1)


# Reading -------------------------------------------------------------------------------------------------------------


def of_customer(email: str, *, limit: int = 20) -> list[FeedEntry]:
    """Return the feed of a customer, newest first, including orders of a moment ago.

    One query of Redis and one statement, which reads the orders that are newer than the feed.
    """
    found, as_of = _kept(identity(email), limit)
    since = None if as_of is None else as_of - _LATE
    fresh = [
        _entry(str(order.id), order.number, "placed", formatted(order.total_minor, order.currency), order.placed_at)
        for order in orders.of_customer(email, since=since, limit=limit)
    ]
    merged = {(entry.order_id, entry.what): entry for entry in (*fresh, *found)}
    return sorted(merged.values(), key=lambda entry: entry.at, reverse=True)[:limit]


def _kept(email: str, limit: int) -> tuple[list[FeedEntry], datetime | None]:
    try:
        generation = _serving()
        if generation is None:
            return [], None
        pipe = _redis().pipeline(transaction=False)
        pipe.hget(f"{_ROOT}:{generation}", "as_of")
        pipe.zrevrange(f"{_ROOT}:{generation}:{email}", 0, limit - 1)
        as_of, texts = pipe.execute()
    except (RedisError, OSError) as error:
        logger.warning("feed_away", error=str(error))
        return [], None
    kept = [FeedEntry(**json.loads(text)) for text in texts]
    return kept, None if as_of is None else datetime.fromtimestamp(int(as_of) / 1000, UTC)


def _serving() -> str | None:
    found: str | None = _redis().get(_ROOT)
    return found


# Writing -------------------------------------------------------------------------------------------------------------


def _entry(order_id: str, number: str, what: str, note: str, at: datetime) -> FeedEntry:
    return FeedEntry(order_id=order_id, number=number, what=what, note=note, at=int(at.timestamp() * 1000))


def _entries(events: Sequence[Recorded]) -> list[tuple[str, FeedEntry]]:
    """Return the entries of events, each with its customer."""
    placed = queries.latest_events([each.key for each in events], OrderPlaced)
    return [
        (identity(order.customer_email), _entry(each.key, order.number, *_said(each.event), each.occurred_at))
        for each in events
        if (order := placed.get(each.key)) is not None
    ]


def _said(event: Any) -> tuple[str, str]:
    match event:
        case OrderPlaced():
            return "placed", formatted(event.total_minor, event.currency)
        case OrderConfirmed():
            return "confirmed", ""
        case OrderRejected():
            return "rejected", event.reason
        case OrderCancelled():
            return "cancelled", event.reason
        case ShipmentBooked():
            return "shipped", event.tracking_number
        case PaymentRefunded():
            return "refunded", formatted(event.amount_minor, event.currency)
    raise TypeError(f"nothing is said of {type(event).__name__}")


class FeedStore:
    """The store of the feed; writing an entry twice makes one entry."""

    def position(self, *, shadow: bool) -> int:
        generation = self._generation(shadow=shadow)
        return int(_redis().hget(f"{_ROOT}:{generation}", "position") or 0) if generation else 0

    def apply(self, events: Sequence[Recorded], *, position: int, shadow: bool) -> None:
        """Write all entries and the position, or nothing (MULTI)."""
        generation = self._generation(shadow=shadow)
        if generation is None and shadow:
            raise LookupError("the new copy was lost with its Redis; rebuild it with --anew")
        generation = generation or self._first()
        pipe = _redis().pipeline(transaction=True)
        keys = set()
        for email, entry in _entries(events):
            keys.add(key := f"{_ROOT}:{generation}:{email}")
            pipe.zadd(key, {json.dumps(asdict(entry)): entry.at})
        for key in keys:
            pipe.zremrangebyrank(key, 0, -LENGTH - 1)
        mark: dict[str, Any] = {"position": position}
        if events:
            mark["as_of"] = int(events[-1].occurred_at.timestamp() * 1000)
        pipe.hset(f"{_ROOT}:{generation}", mapping=mark)
        pipe.execute()

    def create_shadow(self) -> None:
        """Make an empty next generation, and remove one that was made before."""
        self.drop()
        _redis().set(_SHADOW, int(_serving() or 0) + 1)

    def drop(self) -> None:
        """Remove every generation except the serving one, including the rest of a killed rebuild."""
        _redis().delete(_SHADOW)
        serving = f"{_ROOT}:{_serving()}"
        for key in _redis().scan_iter(f"{_ROOT}:*", count=1000):
            if key != serving and not key.startswith(f"{serving}:"):
                _redis().unlink(key)

    def compare(self) -> Difference:
        old, new = self._all(shadow=False), self._all(shadow=True)
        return len(old - new), len(new - old)

    def swap(self) -> None:
        """Make the next generation serve, and remove the previous one, which has no reader now."""
        new = self._generation(shadow=True)
        if new is not None:
            _redis().set(_ROOT, new)
            self.drop()

    def _generation(self, *, shadow: bool) -> str | None:
        found: str | None = _redis().get(_SHADOW if shadow else _ROOT)
        return found

    def _first(self) -> str:
        """Return a new generation that serves from now on, for a Redis without one."""
        _redis().set(_ROOT, 1, nx=True)
        return str(_serving())

    def _all(self, *, shadow: bool) -> set[tuple[str, str]]:
        prefix = f"{_ROOT}:{self._generation(shadow=shadow)}:"
        return {
            (key.removeprefix(prefix), text)
            for key in _redis().scan_iter(f"{prefix}*", count=1000)
            for text in _redis().zrange(key, 0, -1)
        }


feed = ReadModel(
    "customer-feed",
    events=(OrderPlaced, OrderConfirmed, OrderRejected, OrderCancelled, ShipmentBooked, PaymentRefunded),
    store=FeedStore(),
)
