"""The peer without a journal: one Celery chain an order, a task a step, an error callback that undoes."""

from typing import Any

from celery import Task, chain, current_app, shared_task

from orders.events import OrderPlaced

from . import flow

#: What a task hands to the next: the order, and what the steps found.
Order = dict[str, Any]


@shared_task(name="benchmarks.reserve")
def reserve(order: Order) -> Order:
    flow.reserve(OrderPlaced.read(order, version=OrderPlaced.version), order["order_id"])
    return order


@shared_task(name="benchmarks.capture")
def capture(order: Order) -> Order:
    flow.capture(OrderPlaced.read(order, version=OrderPlaced.version), order["order_id"])
    return order


@shared_task(name="benchmarks.ship")
def ship(order: Order) -> Order:
    return order | {"tracking_number": flow.ship(OrderPlaced.read(order, version=OrderPlaced.version))}


@shared_task(name="benchmarks.confirm")
def confirm(order: Order) -> Order:
    flow.confirm(OrderPlaced.read(order, version=OrderPlaced.version))
    return order


@shared_task(name="benchmarks.notify")
def notify(order: Order) -> str:
    return flow.notify(OrderPlaced.read(order, version=OrderPlaced.version), order["tracking_number"])


@shared_task(name="benchmarks.send")
def send(notification_id: str) -> None:
    flow.send(notification_id)


@shared_task(name="benchmarks.undo", bind=True)
def undo(self: Task[Any, Any], order: Order) -> None:  # noqa: ARG001
    """Error callback: put everything back; harmless for what was never done."""
    placed = OrderPlaced.read(order, version=OrderPlaced.version)
    flow.refund(placed, order["order_id"])
    flow.release(placed, order["order_id"])
    flow.send(flow.reject(placed, "Something on our side did not work; please try again later."))


def publish(orders: list[Order]) -> None:
    """Send a chain for each order, in batches, as the shop's own relay does."""
    pool: Any = current_app.producer_pool  # its stubs do not know batch() yet
    with pool.acquire(block=True, timeout=5) as producer, producer.batch(max_size=500):
        for order in orders:
            steps: Any = _chain(order)
            # apply_async of a chain would drop the producer, so the chain is built here.
            tasks, _ = steps.prepare_steps(
                (), {}, steps.tasks, link_error=steps.options.get("link_error"), app=current_app
            )
            tasks.pop().apply_async(chain=tasks or None, producer=producer, retry=False)


def _chain(order: Order) -> Any:
    steps: Any = chain(
        reserve.s(order).set(queue="inventory"),
        capture.s().set(queue="payments"),
        ship.s().set(queue="inventory"),
        confirm.s().set(queue="orders"),
        notify.s().set(queue="notifications"),
        send.s().set(queue="notifications"),
    )
    return steps.on_error(undo.si(order).set(queue="orders"))
