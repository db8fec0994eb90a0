"""The saga scenarios of Durable Workflow's public conformance suite (category `saga_runtime_contract`), by their ids.

Two of the twelve ask for two languages: here the other side is another process, with code and queue of its own.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from importlib.metadata import distribution, packages_distributions
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction

from inventory.models import Reservation, StockItem
from orders.models import Order
from sagas.core.errors import Rejected, Retryable
from sagas.models import Attempt, Run, StepRun
from sagas.testing import Broker, MovableClock
from tests.concurrency import another_waits_for_us
from tests.conftest import ROOT, Processes, wait_for
from tests.factories.orders import Place

from .conftest import FORWARD, Store, run_of, settle, statuses

Want = Callable[..., None]


def test_published_artifact_install_only() -> None:
    """What the product imports comes from requirements.txt, each pinned to one version, and what those bring along."""
    pinned = {
        re.split(r"[=\[;]", line)[0].lower().replace("_", "-"): line
        for line in Path(ROOT, "requirements.txt").read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    }
    assert [line for line in pinned.values() if "==" not in line] == []
    brought = {name for package in pinned for name in _requirements_of(package)}
    where_from = packages_distributions()
    ours = {"shop", "orders", "inventory", "payments", "notifications", "sagas"}
    for imported in sorted({name for package in ours for name in _imports_of(ROOT / package)} - ours):
        found = {name.lower().replace("_", "-") for name in where_from.get(imported, [])}
        assert not found or found & (set(pinned) | brought), f"{imported} ({found}) is not in requirements.txt"


def _requirements_of(package: str) -> Iterator[str]:
    try:
        required = distribution(package).requires or []
    except ModuleNotFoundError:  # not for this version of Python
        return
    for line in required:
        yield re.split(r"[ =<>!~;\[(]", line)[0].lower().replace("_", "-")


def _imports_of(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def test_forward_success_path(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    want()
    settle(broker, clock)
    assert store.effects == FORWARD
    assert run_of().status == "completed"


def test_failure_at_d_reverse_compensation(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["send-confirmation"] = [Retryable("mail server down")] * 2
    want()
    settle(broker, clock)
    assert store.effects == [*FORWARD[:3], "refund-card", "cancel-hotel", "cancel-flight"]
    assert run_of().status == "undone"
    assert (run_of().failure or {})["step"] == "send-confirmation"


def test_failure_at_c_reverse_compensation(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["charge-card"] = [Rejected("declined")]
    want()
    settle(broker, clock)
    assert store.effects == [*FORWARD[:2], "cancel-hotel", "cancel-flight"]
    assert "send-confirmation" not in store.tries


def test_failure_at_a_no_compensation(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["reserve-flight"] = [Rejected("no seats")]
    want()
    settle(broker, clock)
    assert store.effects == []
    assert run_of().status == "undone"


def test_compensation_retry_idempotence(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["charge-card"] = [Rejected("declined")]
    store.after["cancel-hotel"] = [Retryable("its answer was cut off")]
    want()
    settle(broker, clock)
    assert store.tries.count("cancel-hotel") == 2
    assert store.effects.count("cancel-hotel") == 1
    assert list(Attempt.objects.filter(step__name="cancel-hotel").values_list("number", flat=True)) == [1]
    assert run_of().status == "undone"


def test_compensation_failure_visibility(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["charge-card"] = [Rejected("declined")]
    store.says["cancel-flight"] = [Retryable("the airline does not answer")] * 2
    want()
    settle(broker, clock)
    said = StringIO()
    call_command("sagas", "show", "t", "--json", stdout=said)
    shown = json.loads(said.getvalue())
    assert shown["status"] == "needs_attention"
    assert shown["why"] == "cancel-flight: the airline does not answer"


def test_mid_compensation_worker_restart(place: Place, processes: Processes) -> None:
    """A worker is killed -9 while its undo waits for a row; another one goes on, with the same undo, once."""
    processes.worker("orders,notifications,sagas,relay", name="others", concurrency=1)
    worker = processes.worker("inventory", name="first", concurrency=1)
    processes.beat()
    order = place("tok_chargeDeclined")
    wait_for(lambda: Reservation.objects.filter(status="held").exists())
    with transaction.atomic():
        StockItem.objects.select_for_update().get(sku="MUG")
        processes.worker("payments", name="payments", concurrency=1)
        # Stock is held already: only its release can wait for this row.
        wait_for(another_waits_for_us)
        processes.kill(worker)
    assert [reservation.status for reservation in Reservation.objects.all()] == ["held"]
    processes.worker("inventory", name="second", concurrency=1)
    wait_for(lambda: Run.objects.get().status == "undone")
    assert [(row.order_id, row.status) for row in Reservation.objects.all()] == [(order.id, "released")]
    item = StockItem.objects.get(sku="MUG")
    assert (item.on_hand, item.reserved) == (100, 0)
    assert [(row.name, row.status) for row in StepRun.objects.filter(action="undo")] == [("release-stock", "done")]
    assert Order.objects.get().status == "rejected"
    assert len(wait_for(processes.mails)) == 1


@pytest.mark.parametrize("scenario", ["php_workflow_python_compensation", "python_workflow_php_compensation"])
def test_compensation_in_another_runtime(place: Place, processes: Processes, scenario: str) -> None:
    """The run is planned by one process and undone by another, which serves only the queue of its context."""
    one, other = ("inventory", "payments") if scenario.startswith("php") else ("payments", "inventory")
    processes.worker(f"{one},orders,notifications,sagas,relay", name="one")
    processes.worker(other, name="other")
    processes.beat()
    place("tok_chargeDeclined")
    wait_for(lambda: Run.objects.filter(status="undone").exists())
    run = Run.objects.get()
    assert (run.failure or {})["error"] == "CardDeclined"
    assert run.results["release-stock"] == {"skus": 1, "pieces": 2}
    undone = list(run.steps.order_by("place").values_list("name", flat=True))[-3:]
    assert undone == ["release-stock", "close-order", "tell-customer"]


class AirlineStrike(Rejected):
    """Nobody works at the airline."""


def test_typed_compensation_error_round_trip(want: Want, store: Store, broker: Broker, clock: MovableClock) -> None:
    store.says["charge-card"] = [Rejected("declined")]
    store.says["cancel-flight"] = [AirlineStrike("until Monday")]
    want()
    settle(broker, clock)
    attention = run_of().attention or {}
    assert attention == {
        "step": "cancel-flight",
        "kind": "rejected",
        "error": "AirlineStrike",
        "message": "until Monday",
    }
    attempt = Attempt.objects.get(step__name="cancel-flight")
    assert (attempt.error, attempt.message, attempt.kind) == ("AirlineStrike", "until Monday", "rejected")
    assert "AirlineStrike: until Monday" in attempt.traceback


def test_operator_visible_mid_compensation_status(
    want: Want, store: Store, broker: Broker, clock: MovableClock
) -> None:
    store.says["send-confirmation"] = [Rejected("no")]
    store.says["cancel-hotel"] = [Retryable("busy", retry_after_seconds=3600)]
    want()
    settle(broker, clock)
    said = StringIO()
    call_command("sagas", "show", "t", "--json", stdout=said)
    shown = json.loads(said.getvalue())
    assert shown["status"] == "undoing"
    assert {step["name"]: step["status"] for step in shown["steps"]} == {
        "reserve-flight": "undoing",
        "reserve-hotel": "undoing",
        "charge-card": "undone",
        "send-confirmation": "failed",
        "refund-card": "done",
        "cancel-hotel": "pending",
        "cancel-flight": "pending",
    }
    assert statuses()["cancel-hotel"] == "pending"
