"""What tests ask the tables: short answers that can be compared."""

from inventory.models import StockItem
from notifications.models import Notification
from orders.models import Order
from sagas.models import Event, Run


def stock(sku: str) -> tuple[int, int]:
    """Return how many pieces there are, and how many of them are held."""
    item = StockItem.objects.get(sku=sku)
    return item.on_hand, item.reserved


def shelf() -> dict[str, tuple[int, int]]:
    """Return the stock of each SKU."""
    rows = StockItem.objects.values_list("sku", "on_hand", "reserved")
    return {sku: (on_hand, reserved) for sku, on_hand, reserved in rows}


def decided(order: Order) -> tuple[str, str]:
    """Return the order's status and the reason of it."""
    order.refresh_from_db()
    return order.status, order.reason


def steps(order: Order) -> list[tuple[str, str]]:
    """Return each step of the order's run with its status."""
    return list(Run.objects.get(key=order.id).steps.order_by("place").values_list("name", "status"))


def messages(order: Order) -> list[str]:
    """Return the kinds of the messages to the customer."""
    return list(Notification.objects.filter(order_id=order.id).values_list("kind", flat=True))


def emitted(context: str) -> list[str]:
    """Return the types of all events, in order of writing, without the name of the context."""
    types = Event.objects.order_by("position").values_list("type", flat=True)
    return [name.removeprefix(f"{context}.") for name in types]
