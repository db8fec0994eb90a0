"""Messages nobody sent on purpose, and results nobody can keep."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django_celery_results.models import TaskResult

from sagas.core.ids import new_id
from sagas.models import Attempt, Run
from shop.celery import app
from tests.asking import stock
from tests.conftest import Processes, broker, wait_for
from tests.factories.orders import Place

from .conftest import all_are, all_completed, assert_all_done_once, state


def _text(queue: str) -> None:
    with app.producer_pool.acquire(block=True, timeout=5) as producer:
        producer.publish("garbage", exchange=queue, routing_key=queue, content_type="text/plain")


def _pickle(queue: str) -> None:
    with app.producer_pool.acquire(block=True, timeout=5) as producer:
        producer.publish(
            b"\x80\x04garbage", exchange=queue, routing_key=queue, content_type="application/x-python-serialize",
            content_encoding="binary",
        )  # fmt: skip


def _task(name: str, *args: Any) -> Callable[[str], None]:
    def send(queue: str) -> None:
        app.send_task(name, args=args, queue=queue)

    return send


GARBAGE: dict[str, Callable[[str], None]] = {
    "text": _text,
    "pickle": _pickle,
    "a task nobody knows": _task("orders.no_such_step"),
    "a step without its arguments": _task("orders.confirm_order"),
    "a step with arguments of other kinds": _task("orders.confirm_order", 7, "x", None),
    "a step of a run that is no id": _task("orders.confirm_order", ["garbage"], 4, 1),
    "a step of a run that does not exist": _task("orders.confirm_order", [str(new_id())], 4, 1),
    "a step of no runs": _task("orders.confirm_order", [], 4, 1),
    "an undo of a run that does not exist": _task("sagas.undo", [str(new_id())], 1),
    "a delivery that does not exist": _task("notifications.send_notification", [2**40]),
}


def test_garbage_on_a_queue_does_not_stop_a_worker(place: Place, processes: Processes) -> None:
    worker = processes.worker(concurrency=1)
    processes.beat()
    for send in GARBAGE.values():
        for queue in ("orders", "payments"):
            send(queue)
    place()
    wait_for(lambda: all_are("confirmed"), why=state)
    for send in GARBAGE.values():
        send("orders")
    place()
    wait_for(lambda: all_completed(2), why=state)
    assert_all_done_once(2)
    assert not Attempt.objects.exists()
    assert worker.poll() is None


@pytest.mark.parametrize("data", [b"garbage", b"[]", b"\xff\xfe"], ids=["text", "list", "bytes"])
def test_bytes_that_are_no_message_cost_a_worker_and_the_next_one_works(
    place: Place, processes: Processes, data: bytes
) -> None:
    """Kombu cannot read past what somebody wrote into Redis by hand; it is gone with the worker that took it.

    That worker stops taking messages, and does not always exit by itself: whoever watches it has to kill it.
    """
    worker = processes.worker(concurrency=1)
    with broker() as redis:
        redis.lpush("orders", data)
    wait_for(lambda: b"Unrecoverable error" in processes.log(worker), why=lambda: processes.log(worker).decode())
    processes.kill(worker)
    processes.worker(name="next")
    processes.beat()
    place()
    wait_for(lambda: all_completed(1), why=state)
    assert_all_done_once(1)


@contextmanager
def without_results() -> Iterator[None]:
    table = TaskResult._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


def test_a_result_that_cannot_be_written_does_not_disturb_an_order(place: Place, processes: Processes) -> None:
    with without_results():
        worker = processes.worker()
        # What is too old is noted by the main process of the worker, which has nobody to restart it.
        app.send_task("sagas.relay", queue="relay", expires=-1)
        wait_for(lambda: b"Discarding revoked task: sagas.relay" in processes.log(worker))
        processes.beat()
        good, flaky = place("tok_visa"), place("tok_flaky")
        wait_for(lambda: Run.objects.filter(status="completed").count() == 2, why=state)
        declined = place("tok_chargeDeclined")  # alone: in a batch, a refusal fails no message
        wait_for(lambda: Run.objects.filter(status__in=["completed", "undone"]).count() == 3, why=state)
    for order, status in ((good, "confirmed"), (flaky, "confirmed"), (declined, "rejected")):
        order.refresh_from_db()
        assert order.status == status
    assert stock("MUG") == (96, 0)
    assert worker.poll() is None
    assert b"result_not_stored" in processes.log(worker)
    assert not TaskResult.objects.exists()
