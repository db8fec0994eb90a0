"""How the database answers: the plans of the statements that are made."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

#: Tables that grow with every order.
GROWING = {
    "orders_order", "orders_orderline", "inventory_reservation", "inventory_parcel", "payments_payment",
    "payments_fakecharge", "notifications_notification", "sagas_event", "sagas_run", "sagas_steprun", "sagas_delivery",
}  # fmt: skip


@dataclass
class Plans:
    """What was explained: each statement with the nodes of its plan."""

    explained: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)

    @property
    def indexes(self) -> set[str]:
        """The indexes that are looked into."""
        return {node["Index Name"] for _, nodes in self.explained for node in nodes if "Index Name" in node}

    @property
    def read_whole(self) -> list[tuple[str, str]]:
        """The growing tables that are read from end to end, each with the statement."""
        return [
            (node["Relation Name"], sql)
            for sql, nodes in self.explained
            for node in nodes
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
        ]


@contextmanager
def explained() -> Iterator[Plans]:
    """Have each statement explained right before it is made."""
    plans = Plans()

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match(r"\s*(SELECT|WITH|UPDATE|DELETE|\()", sql):
            with connection.connection.cursor() as cursor:
                (((plan,),),) = cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params).fetchall()
                plans.explained.append((sql, list(_nodes(plan["Plan"]))))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield plans


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
