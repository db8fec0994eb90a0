"""The expected rows after a measurement; a figure with wrong rows is refused."""

from collections.abc import Sequence

from django.db import connection

from . import ground
from .ground import Mark, Placed


class WrongRows(SystemExit):
    """A contender did not do its work. Ends the benchmark with the fault."""

    def __init__(self, contender: str, wrong: Sequence[str]) -> None:
        super().__init__("\n  ".join([f"benchmark: {contender} did not do its work:", *wrong]))


#: Rows of one order: in the contexts and the event log, and in the engine's own tables.
BUSINESS = {
    "orders_order": 1,
    "orders_orderline": ground.LINES,
    "inventory_reservation": ground.LINES,
    "inventory_parcel": 1,
    "payments_payment": 1,
    "payments_fakecharge": 1,
    "notifications_notification": 1,
    # Placed, reserved, captured, shipped, confirmed, queued, sent.
    "sagas_event": 7,
}
JOURNAL = {"sagas_run": 1, "sagas_steprun": 6, "sagas_delivery": 1}
#: Tables of the engine whose rows do not depend on the orders.
_ASIDE = ("sagas_reconciliation",)


def judge(contender: str, placed: Sequence[Placed], before: Mark, *, with_journal: bool) -> None:
    """Return if the rows are right; `before`: the state of the tables before the orders were placed.

    Raises:
        WrongRows: they are not.
    """
    after = ground.mark()
    wrong = _miscounted(len(placed), before, after, BUSINESS | (JOURNAL if with_journal else {}))
    pieces = sum(line["quantity"] for order in placed for line in order["lines"])
    if before.on_hand - after.on_hand != pieces:
        wrong.append(f"{before.on_hand - after.on_hand} pieces left the warehouse instead of {pieces}")
    wrong += _unlike(placed, _CONTENTS | (_JOURNAL_CONTENTS if with_journal else {}))
    if wrong:
        raise WrongRows(contender, wrong)


def judge_rows(what: str, count: int, before: Mark, each: dict[str, int]) -> None:
    """Return if every table has exactly `count` times `each` new rows.

    Raises:
        WrongRows: it has not.
    """
    wrong = _miscounted(count, before, ground.mark(), each)
    if wrong:
        raise WrongRows(what, wrong)


def _miscounted(count: int, before: Mark, after: Mark, each: dict[str, int]) -> list[str]:
    return [
        f"{table}: {after.rows[table] - rows} new rows instead of {count * each.get(table, 0)}"
        for table, rows in before.rows.items()
        if table not in _ASIDE and after.rows[table] - rows != count * each.get(table, 0)
    ]


def _unlike(placed: Sequence[Placed], contents: dict[str, tuple[str, int]]) -> list[str]:
    keys = [order["order_id"] for order in placed]
    wrong = []
    with connection.cursor() as cursor:
        for what, (statement, each) in contents.items():
            cursor.execute(statement, [keys])
            (found,) = cursor.fetchone()
            if found != each * len(keys):
                wrong.append(f"{what}: {found} instead of {each * len(keys)}")
        cursor.execute("SELECT sum(reserved) FROM inventory_stockitem WHERE sku LIKE 'BENCH-%'")
        (reserved,) = cursor.fetchone()
        if reserved:
            wrong.append(f"{reserved} pieces are still reserved")
    return wrong


#: Name, statement that counts it for these orders, and the number of each order.
_CONTENTS = {
    "orders confirmed": ("SELECT count(*) FROM orders_order WHERE id = ANY(%s::uuid[]) AND status = 'confirmed'", 1),
    "reservations shipped": (
        "SELECT count(*) FROM inventory_reservation WHERE order_id = ANY(%s::uuid[]) AND status = 'shipped'",
        ground.LINES,
    ),
    "parcels": ("SELECT count(DISTINCT order_id) FROM inventory_parcel WHERE order_id = ANY(%s::uuid[])", 1),
    "payments captured in full": (
        (
            "SELECT count(*) FROM payments_payment AS payment"
            " JOIN orders_order AS placed ON placed.id = payment.order_id AND placed.total_minor = payment.amount_minor"
            " WHERE payment.order_id = ANY(%s::uuid[]) AND payment.status = 'captured'"
        ),
        1,
    ),
    "charges at the provider": (
        (
            "SELECT count(*) FROM payments_fakecharge AS charge JOIN payments_payment AS payment USING (key)"
            " WHERE payment.order_id = ANY(%s::uuid[]) AND charge.status = 'charged' AND charge.calls = 1"
        ),
        1,
    ),
    "notifications sent": (
        (
            "SELECT count(*) FROM notifications_notification WHERE order_id = ANY(%s::uuid[])"
            " AND kind = 'order_confirmed' AND status = 'sent'"
        ),
        1,
    ),
    "kinds of events": (
        "SELECT count(DISTINCT (key, type)) FROM sagas_event WHERE key = ANY(%s)",
        BUSINESS["sagas_event"],
    ),
}
_JOURNAL_CONTENTS = {
    "runs completed": ("SELECT count(*) FROM sagas_run WHERE key = ANY(%s) AND status = 'completed'", 1),
    "steps done": (
        (
            "SELECT count(*) FROM sagas_steprun AS step JOIN sagas_run AS run ON run.id = step.run_id"
            " WHERE run.key = ANY(%s) AND step.status = 'done'"
        ),
        5,
    ),
    "deliveries done": (
        (
            "SELECT count(*) FROM sagas_delivery AS delivery JOIN sagas_event AS event ON event.position = event_id"
            " WHERE event.key = ANY(%s) AND delivery.status = 'done'"
        ),
        1,
    ),
    "events relayed": ("SELECT count(*) FROM sagas_event WHERE key = ANY(%s) AND relayed_at IS NOT NULL", 7),
}
