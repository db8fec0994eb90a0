"""Read models (CQRS): tables shaped for a query, which follow the event log with a stored position.

In PostgreSQL the changes by an event and the new position commit together: exactly once. A read model in another store
keeps its own position there, and may get an event again. `rebuild` makes a read model anew.
"""

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from ..core import registry
from ..core.errors import TransactionRefusedError
from ..core.read_model import ReadModel, Recorded
from ..db.constraints import check_constraints
from ..db.storable import message_of
from ..models import Event, Follower
from . import followers

logger = structlog.get_logger(__name__)

#: Events of one transaction.
PORTION = 2000


def follow(*, limit: int = PORTION) -> bool:
    """Apply the next portion of the log to each read model; say whether one of them has more to apply.

    Any number of processes may follow: one at a time serves a read model. A read model that cannot apply an event stops
    before it, stores the error, and continues automatically once the code can apply it.

    Transaction: refuses one; opens one for each read model.
    Idempotent: by position.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    if connection.in_atomic_block:
        raise TransactionRefusedError("read models commit their own transactions")
    known, head, more = {model.name: model for model in registry.read_models()}, followers.head(), False
    at = dict(Follower.objects.filter(name__in=known, paused_at=None).values_list("name", "position"))
    for name, position in at.items():
        # Another store may have lost data, so its position is read although the stored one is at the head.
        if position < head or known[name].store is not None:
            more = _take_on(known[name], head, limit) or more
    return more


def _take_on(model: ReadModel, head: int, limit: int) -> bool:
    with transaction.atomic():
        mine = Follower.objects.claimed().filter(name=model.name, paused_at=None).first()
        if mine is None or not _is_where_its_store_is(model, mine):
            return False
        return advance(model, mine, head, limit)


def _is_where_its_store_is(model: ReadModel, follower: Follower) -> bool:
    """Set the position back to that of the store, which may have lost data; say whether the store answers."""
    if model.store is None:
        return True
    try:
        follower.position = min(follower.position, model.store.position(shadow=False))
    except Exception as error:  # noqa: BLE001 - whatever it raises while it is away
        logger.warning("store_away", read_model=model.name, error=message_of(error))
        follower.error = f"its store is away: {message_of(error)}"[:1000]
        follower.save(update_fields=["error"])
        return False
    return True


def advance(model: ReadModel, follower: Follower, end: int, limit: int, *, shadow: bool = False) -> bool:
    """Apply the next portion up to `end`; say whether more is left that can be applied.

    Transaction: requires the transaction that has locked the follower.

    Args:
        shadow: apply to the copy that a rebuild makes.
    """
    if follower.position >= end:
        if follower.error:  # a store that was away is back
            follower.error = ""
            follower.save(update_fields=["error"])
        return False
    upto = min(end, follower.position + limit)
    while not _taken_in(model, follower, upto, shadow=shadow):
        if upto - follower.position == 1:
            follower.save(update_fields=["error", "position"])
            return False
        # One of these events cannot be applied: try half of them, and so on, until those before it are applied.
        upto = follower.position + (upto - follower.position) // 2
    follower.position, follower.error = upto, ""
    follower.save(update_fields=["position", "error"])
    return upto < end


def _taken_in(model: ReadModel, follower: Follower, upto: int, *, shadow: bool) -> bool:
    rows = Event.objects.filter(
        log_position__gt=follower.position, log_position__lte=upto, type__in=model.types
    ).order_by("log_position")
    try:
        with transaction.atomic():
            recorded = [_recorded(model, row) for row in rows]
            if model.store is not None:
                model.store.apply(recorded, position=upto, shadow=shadow)
            elif recorded:
                model.apply(recorded)
                check_constraints()
    except (OperationalError, InterfaceError):
        raise  # the database is in trouble, not the event
    except Exception as error:
        if upto - follower.position == 1:
            logger.exception("read_model_stopped", read_model=model.name, log_position=upto)
        follower.error = f"at {upto}: {type(error).__name__}: {message_of(error)}"[:1000]
        return False
    return True


def _recorded(model: ReadModel, row: Event) -> Recorded:
    assert row.log_position is not None  # noqa: S101 - they are read by it
    return Recorded(
        event=model.types[row.type].read(row.data, version=row.version),
        event_id=row.id,
        key=row.key,
        log_position=row.log_position,
        occurred_at=row.occurred_at,
    )
