"""A turn with nothing to do costs the same beside much that is over: it looks into indexes of what is open."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from benchmarks.filling import fill
from orders.models import Order
from sagas.books import engine_checks
from sagas.core import registry
from sagas.core.books import Scope
from sagas.engine import shares
from sagas.engine.deliveries import sweep_deliveries
from sagas.engine.due import due
from sagas.engine.sweep import sweep_runs
from sagas.log import followers
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Follower, Intervention, Run
from sagas.operations import attention, interventions, queries, replays
from shop.pages.order_search import searched
from tests.factories.journal import InterventionFactory
from tests.plans import explained

pytestmark = pytest.mark.django_db

ORDERS, OPEN = 4000, 200


@pytest.fixture(scope="module", autouse=True)
def history(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Finished orders, and some under way, for all tests of this module: what these do is rolled back."""
    with django_db_blocker.unblock():
        fill(orders=ORDERS, events=10 * ORDERS, show=lambda _: None)
        _open_some(timezone.now() + timedelta(hours=1))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        yield
        call_command("flush", interactive=False, verbosity=0)


def _open_some(due_at: datetime) -> None:
    """Have some runs and deliveries wait for their time and some for a person."""
    runs = list(Run.objects.order_by("-pk")[:OPEN])
    owed = list(Delivery.objects.order_by("-pk")[:OPEN])
    for row in runs:
        row.status, row.due_at, row.deadline_at, row.finished_at = "running", due_at, due_at, None
    for row in runs[: OPEN // 10]:
        row.status, row.resumes_as, row.stopped_at = "needs_attention", "running", due_at
    for delivery in owed:
        delivery.status, delivery.due_at = "pending", due_at
    for delivery in owed[: OPEN // 10]:
        delivery.status, delivery.due_at = "parked", None
    for delivery in owed[OPEN // 10 : OPEN // 5]:
        delivery.refused_at = due_at
    Run.objects.bulk_update(runs, ("status", "due_at", "deadline_at", "finished_at", "resumes_as", "stopped_at"))
    Delivery.objects.bulk_update(owed, ("status", "due_at", "refused_at"))
    Intervention.objects.bulk_create(
        InterventionFactory.build(subject_id=str(run.pk), key=run.key, status="done", asked_at=due_at, done_at=due_at)
        for run in runs
        for _ in range(10)
    )


def check(name: str) -> None:
    (made,) = [check for check in engine_checks.CHECKS if check.name == name]
    assert list(made.look(Scope(keys=(), now=timezone.now()))) == []


def look_for_a_share() -> None:
    """Ask what a worker asks before and after it has made a delivery of which few are made at once."""
    (limited,) = [each for each in registry.subscriptions() if each.name == "send-notification"]
    assert limited.at_once is not None
    with transaction.atomic():
        assert not shares.is_full(limited, timezone.now())
    assert len(shares.next_of([limited], succeeded=(), left_out=(), now=timezone.now())) == 1


QUESTIONS: dict[str, tuple[Callable[[], object], set[str]]] = {
    "relay": (
        lambda: relay_events(now=timezone.now(), limit=500),
        {"sagas_event_to_number", "sagas_event_one_per_log_position"},
    ),
    "what is due?": (
        lambda: due(timezone.now()),
        {"sagas_run_due", "sagas_run_deadline", "sagas_delivery_due", "sagas_intervention_pending"},
    ),
    "sweep": (lambda: sweep_runs(now=timezone.now(), limit=500), {"sagas_run_due", "sagas_run_deadline"}),
    "sweep of deliveries": (
        lambda: sweep_deliveries(now=timezone.now(), limit=500),
        {"sagas_delivery_due", "sagas_event_pkey"},
    ),
    "share of workers": (look_for_a_share, {"sagas_delivery_due", "sagas_delivery_line", "sagas_delivery_refused"}),
    "interventions": (lambda: interventions.work(now=timezone.now()), {"sagas_intervention_pending"}),
    "replays": (
        lambda: replays.work(now=timezone.now()),
        {"sagas_intervention_pending", "sagas_one_replay_under_way_per_subject"},
    ),
    "are events relayed?": (lambda: check("events-relayed"), {"sagas_event_to_number"}),
    "are runs swept?": (lambda: check("runs-swept"), {"sagas_run_due"}),
    "are deliveries swept?": (lambda: check("deliveries-swept"), {"sagas_delivery_due"}),
    "how late is the relay?": (lambda: queries.lag_seconds(now=timezone.now()), {"sagas_event_to_number"}),
    "who needs a person?": (
        lambda: attention.keys(now=timezone.now()),
        {
            "sagas_run_stopped",
            "sagas_delivery_parked",
            "sagas_finding_open",
            # What no worker takes: open work, and what belongs to it.
            "sagas_run_due",
            "sagas_delivery_due",
            "sagas_event_to_number",
            "sagas_event_pkey",
            "sagas_one_step_per_place",
            "sagas_delivery_line",
        },
    ),
    "how many are parked?": (queries.parked, {"sagas_delivery_parked"}),
}


@pytest.mark.parametrize("question", ["relay", "how late is the relay?"])
def test_statistics_taken_in_a_burst_lead_nobody_through_the_whole_log(question: str) -> None:
    burst = Event.objects.filter(position__in=Event.objects.order_by("-position").values("position")[:400])
    burst.update(log_position=None)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sagas_event")
    burst.update(log_position=F("position"))
    ask, indexes = QUESTIONS[question]
    with explained() as plans:
        ask()
    assert plans.read_whole == []
    assert plans.indexes == indexes


def test_statistics_taken_while_half_of_the_deliveries_are_due_lead_no_sweep_through_the_whole_table() -> None:
    half = Delivery.objects.filter(
        pk__in=Delivery.objects.order_by("-pk").values("pk")[: Delivery.objects.count() // 2]
    )
    keys, now = list(half.values_list("pk", flat=True)), timezone.now()
    half = Delivery.objects.filter(pk__in=keys)
    half.update(status="pending", due_at=now - timedelta(minutes=1))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sagas_delivery")
    half.update(status="done", due_at=None)
    with explained() as plans:
        assert not due(now).deliveries
    assert plans.read_whole == []


def test_the_relay_of_a_burst_beside_orders_by_hand_reads_no_whole_table() -> None:
    waiting = Event.objects.filter(position__in=Event.objects.order_by("-position").values("position")[:400])
    waiting.update(log_position=None, low_priority=True)
    Event.objects.filter(pk=Event.objects.order_by("-position")[0].pk).update(low_priority=False)
    with explained() as plans:
        assert relay_events(now=timezone.now(), limit=500).events
    assert any("GROUP BY key" in sql for sql, _ in plans.explained)
    assert plans.read_whole == []


def test_what_a_paused_subscription_holds_back_is_found_without_reading_a_whole_table() -> None:
    Follower.objects.filter(name="send-notification").update(paused_at=timezone.now(), position=followers.head() - 500)
    with explained() as plans:
        assert attention.keys(now=timezone.now())
    assert plans.read_whole == []


def test_a_page_of_a_list_asks_of_its_own_orders_only() -> None:
    """Two orders, not the fifty of a page: for fifty, the planner may read a table as small as this one whole."""
    keys = [str(key) for key in Run.objects.order_by("-pk").values_list("key", flat=True)[:2]]
    with explained() as plans:
        assert attention.of(keys, now=timezone.now())
    assert plans.read_whole == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_open_is_found_in_an_index_that_holds_nothing_else(question: str) -> None:
    ask, indexes = QUESTIONS[question]
    with explained() as plans:
        ask()
    assert plans.read_whole == []
    assert plans.indexes
    assert plans.indexes <= indexes


@pytest.mark.parametrize(
    ("typed", "index"),
    [
        ("ada@example.com", "orders_of_customer"),
        ("zzyzx", "orders_by_word"),
        ("zzyzx@", "orders_by_word"),
        ("NO-SUCH-SKU", "orders_lines_of_sku"),
        ("PX0", "inventory_one_parcel_per_tracking_number"),
    ],
)
def test_a_search_for_orders_looks_into_an_index(typed: str, index: str) -> None:
    with explained() as plans:
        list(searched(Order.objects.order_by("-id"), typed)[:50])
    assert plans.read_whole == []
    assert index in plans.indexes
