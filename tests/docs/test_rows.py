"""docs/rows.md is true: an order is driven step by step, and after each hop the rows are those of the page."""

import re
from collections.abc import Callable, Iterator

from inventory.models import Parcel, Reservation
from notifications.models import Notification
from orders.models import Order
from payments.models import Payment
from sagas.models import Delivery, Event, Run, StepRun
from sagas.testing import Broker
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "rows.md").read_text()


def rows() -> dict[str, str]:
    """Return all rows of an order, each with what is to be seen of it."""
    found = {f"orders_order {order.number}": order.status for order in Order.objects.all()}
    found |= {f"sagas_event {event.type}": _logged(event) for event in Event.objects.order_by("position")}
    found |= {f"sagas_run {run.saga}": f"{run.status}, place {run.place}" for run in Run.objects.all()}
    found |= {f"sagas_steprun {step.place} {step.name}": step.status for step in StepRun.objects.order_by("place")}
    found |= {f"inventory_reservation {held.quantity} {held.sku}": held.status for held in Reservation.objects.all()}
    found |= {f"payments_payment {paid.method}": paid.status for paid in Payment.objects.all()}
    found |= {f"inventory_parcel {parcel.tracking_number[:2]}…": "booked" for parcel in Parcel.objects.all()}
    found |= {f"notifications_notification {told.kind}": told.status for told in Notification.objects.all()}
    deliveries = Delivery.objects.order_by("id")
    return found | {f"sagas_delivery {delivery.subscription}": delivery.status for delivery in deliveries}


def _logged(event: Event) -> str:
    return "waits" if event.log_position is None else "in the log"


def hops(place: Callable[[], Order]) -> Iterator[tuple[str, list[str]]]:
    """Yield what happened and the rows that it made or changed, hop by hop."""
    before: dict[str, str] = {}

    def changed() -> list[str]:
        nonlocal before
        after = rows()
        lines = [f"{row}: {status}" for row, status in after.items() if before.get(row) != status]
        before = after
        return lines

    place()
    yield "orders.place", changed()
    broker = Broker()
    while True:
        broker.relay()
        yield "relay", changed()
        if not broker.messages:
            return
        while broker.messages:
            message = broker.messages[0]
            broker.deliver(message)
            yield str(message), changed()


def test_an_order_by_card_has_the_rows_of_the_page_after_each_hop(place: Callable[[], Order]) -> None:
    text = "\n".join(f"{what}\n" + "\n".join(f"    {line}" for line in lines) for what, lines in hops(place) if lines)
    text = re.sub(r"\bS\d+", "S100001", text)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert shown == f"{text}\n"


def test_the_page_says_what_each_table_holds() -> None:
    tables = set(re.findall(r"^    (\w+)", PAGE, re.MULTILINE))
    assert {table for table in tables if f"| `{table}` |" not in PAGE} == set()
