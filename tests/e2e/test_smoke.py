from collections.abc import Callable

from orders.models import Order
from tests.conftest import Processes, wait_for


def test_an_order_is_confirmed_by_real_workers(place: Callable[..., Order], processes: Processes) -> None:
    processes.worker()
    processes.beat()
    order = place()
    wait_for(lambda: Order.objects.filter(id=order.id, status="confirmed").exists())
    wait_for(processes.mails)
