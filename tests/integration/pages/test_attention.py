"""What waits for a person about an order is in its first sentence, its badges, the list, its filter and the queue."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from orders.models import Order
from sagas.books.reconciliation import reconcile
from sagas.core import registry
from sagas.core.statuses import Action
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Finding, Follower, Heartbeat, Run
from sagas.operations import attention, heartbeats, interventions
from sagas.operations.attention_reasons import Attention, Why
from sagas.operations.queries import Lag, followers
from sagas.testing import MovableClock, drive
from shop.story.standing import Standing, standing
from shop.wiring import SAGAS, wiring
from tests.factories.journal import DeliveryFactory, FindingFactory
from tests.factories.orders import Place

LIST, QUEUE = "/admin/orders/order/", "/admin/sagas/intervention/queue/"

pytestmark = pytest.mark.usefixtures("longest_pauses")


def ask(action: str, subject: Run | Delivery | Follower, reason: str) -> None:
    """Have a person do something, as the form does."""
    now = timezone.now()
    interventions.ask([subject], Action(action), reason=reason, by="boss", now=now)
    assert interventions.work(now=now).done == 1


def stands(order: Order, **later: int) -> Standing:
    return standing(order.id, now=timezone.now() + timedelta(**later))


def whys(order: Order, **later: int) -> list[Why]:
    return [each.why for each in attention_of(order, **later)]


def attention_of(order: Order, **later: int) -> list[Attention]:
    return attention.of([str(order.id)], now=timezone.now() + timedelta(**later)).get(str(order.id), [])


def text_of(client: Client, url: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(url).content.decode()))


def said(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def is_shown(client: Client, order: Order, badge: str) -> None:
    """Assert that page, list and filter show the badge, and the filter nothing else."""
    assert badge in stands(order).badges
    assert badge in text_of(client, f"{LIST}{order.id}/change/")
    assert badge in text_of(client, LIST)
    assert [row.pk for row in client.get(LIST, {"attention": "yes"}).context["cl"].result_list] == [order.pk]


def test_open_findings_come_before_everything_is_done(boss: Client, place: Place, clock: MovableClock) -> None:
    place(now=clock())
    order = place("tok_down", now=clock())
    drive(now=clock)
    run = Run.objects.get(key=str(order.id))
    ask("pause", run, "Looking into it.")
    run.refresh_from_db()
    ask("skip", run, "Paid in cash.")
    run.refresh_from_db()
    ask("resume", run, "Paid in cash.")
    clock.move(minutes=1)
    drive(now=clock)
    assert stands(order).sentence == "Everything is done."
    reconcile(now=timezone.now(), checks=registry.checks(), walks=registry.walks())
    messages = list(Finding.objects.order_by("pk").values_list("message", flat=True))
    assert stands(order).sentence == " ".join([*messages, "All its steps are over."])
    assert f"Order {order.number} is confirmed, but its parcel is not paid for." in messages
    assert whys(order) == [Why.FINDING] * len(messages)
    is_shown(boss, order, "Does not balance")
    assert "is not paid for" in text_of(boss, QUEUE)
    Finding.objects.update(status="dismissed", dismissed_at=timezone.now(), dismissed_reason="In cash.")
    assert (whys(order), stands(order).sentence) == ([], "Everything is done.")


def test_a_paused_order_says_who_paused_it_and_why_and_promises_no_try(
    boss: Client, place: Place, clock: MovableClock
) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    run = Run.objects.get()
    ask("pause", run, "The provider asked us to wait.")
    run.refresh_from_db()
    assert run.stopped_at is not None
    shown = stands(order)
    assert shown.sentence == (
        f"It has been paused at “Capture payment” since {said(run.stopped_at)} (boss: “The provider asked us to wait”)."
        " It goes on when a person resumes it. “Capture payment” failed once: The payment provider is busy (503)."
    )
    assert (shown.live, shown.next_try_at) == (False, None)
    assert [(stage.name, stage.status) for stage in shown.stages][2] == ("capture-payment", "paused")
    is_shown(boss, order, "Paused")
    queue = text_of(boss, QUEUE)
    assert "paused by boss: The provider asked us to wait." in queue
    assert "Resume…" in queue


def test_a_paused_order_is_not_under_way_though_its_events_are_still_delivered(
    boss: Client, place: Place, clock: MovableClock
) -> None:
    order = place("tok_flaky", now=clock())
    drive(now=clock)
    DeliveryFactory.create(subscription="webhook-erp", event=Event.objects.earliest("position"), due_at=None)
    assert "Under way" in text_of(boss, f"{LIST}{order.id}/change/")
    ask("pause", Run.objects.get(), "The provider asked us to wait.")
    assert stands(order).live
    assert "Under way" not in text_of(boss, f"{LIST}{order.id}/change/")


def test_a_paused_subscription_is_said_on_each_order_it_owes_something(
    boss: Client, place: Place, clock: MovableClock
) -> None:
    place(now=clock())
    drive(now=clock)
    follower = Follower.objects.get(name="send-notification")
    ask("pause", follower, "The mail server moves.")
    follower.refresh_from_db()
    order = place(now=clock())
    drive(now=clock)
    assert follower.paused_at is not None
    assert stands(order).sentence == (
        f"“Send notification” has been paused for all orders since {said(follower.paused_at)} (boss: “The mail server"
        " moves”). It goes on when a person resumes it. All its steps are over."
    )
    assert not stands(order).live
    is_shown(boss, order, "Subscription paused")
    queue = text_of(boss, QUEUE)
    assert "The subscription “send-notification” is paused" in queue
    assert "by boss: The mail server moves." in queue
    follower.refresh_from_db()
    ask("resume", follower, "It has moved.")
    drive(now=clock)
    assert whys(order) == []


def test_an_order_whose_beginning_is_paused_does_not_begin_in_a_moment(boss: Client, place: Place) -> None:
    place()
    drive()
    ask("pause", Follower.objects.get(name="start-fulfil-order"), "Stocktaking.")
    order = place()
    drive()
    assert stands(order).sentence.startswith("“Start fulfil order” has been paused for all orders since ")
    assert "“Stocktaking”" in stands(order).sentence
    assert not stands(order).live
    is_shown(boss, order, "Subscription paused")


def test_a_step_that_no_worker_takes_names_the_queue_and_since_when(boss: Client, place: Place) -> None:
    order = place(now=timezone.now() - timedelta(minutes=3))
    relay_events(now=timezone.now() - timedelta(minutes=2), limit=500)
    run = Run.objects.get()
    heartbeats.answered("inventory", now=timezone.now())
    assert (whys(order), stands(order).sentence) == ([], "“Reserve stock” is next.")
    died_at = timezone.now() - timedelta(minutes=1)
    Heartbeat.objects.update(alive_at=died_at)
    assert stands(order).sentence == (
        f"“Reserve stock” has waited since {said(run.started_at)}: no worker of the queue “inventory” has given a sign"
        f" of life since {said(died_at)}."
    )
    assert not stands(order).live
    is_shown(boss, order, "No worker")
    assert "No worker serves “inventory”" in text_of(boss, QUEUE)
    drive()
    assert whys(order) == []


def test_an_event_that_no_relay_takes_is_not_about_to_begin(boss: Client, place: Place) -> None:
    order = place(now=timezone.now() - timedelta(seconds=31))
    assert stands(order).sentence == (
        f"Its newest event has waited since {said(order.placed_at)}: no worker of the queue “relay” has ever given a"
        " sign of life."
    )
    is_shown(boss, order, "No worker")
    heartbeats.answered("relay", now=timezone.now())
    assert stands(order).sentence == "The order is saved; its process starts in a moment."


def test_a_busy_queue_is_no_matter_for_a_person(place: Place) -> None:
    order = place(now=timezone.now() - timedelta(hours=1))
    relay_events(now=timezone.now() - timedelta(hours=1), limit=500)
    for queue in heartbeats.queues():
        heartbeats.answered(queue, now=timezone.now())
    assert whys(order) == []
    assert attention.keys(now=timezone.now()) == set()


def test_a_reaction_that_is_switched_off_is_said(boss: Client, place: Place, clock: MovableClock) -> None:
    with registry.current().rewired(wiring("choreography"), sagas=SAGAS).active():
        order = place("tok_flaky", now=clock())
        drive(now=clock)
    assert Delivery.objects.filter(status="pending").exists()
    (each,) = attention_of(order, minutes=5)
    assert (each.why, each.name) == (Why.SWITCHED_OFF, "then-capture-payment")
    assert "Capture payment" in stands(order, minutes=5).sentence
    assert "set to leave it alone" in stands(order, minutes=5).sentence
    assert attention.keys(now=timezone.now() + timedelta(minutes=5)) == {str(order.id)}
    rows = {row.name: row.status for row in _followers()}
    assert (rows["then-capture-payment"], rows["then-close-order"]) == ("switched off here, owing", "switched off here")


def _followers() -> list[Lag]:

    return followers(now=timezone.now())


def test_keys_are_those_that_have_something_to_say(place: Place, clock: MovableClock) -> None:
    stopped, paused, parked, finding, fine = (place(now=clock()) for _ in range(5))
    drive(now=clock)
    Run.objects.filter(key=str(stopped.id)).update(
        status="needs_attention", resumes_as="running", stopped_at=timezone.now(), finished_at=None
    )
    Run.objects.filter(key=str(paused.id)).update(
        status="paused", resumes_as="running", stopped_at=timezone.now(), finished_at=None
    )
    Delivery.objects.filter(key=str(parked.id)).update(status="parked")
    FindingFactory.create(key=str(finding.id), found_at=clock())
    keys = {str(order.id) for order in (stopped, paused, parked, finding)}
    assert attention.keys(now=timezone.now()) == keys
    found = attention.of([*keys, str(fine.id)], now=timezone.now())
    assert {key: [each.why for each in listed] for key, listed in found.items()} == {
        str(stopped.id): [Why.STOPPED],
        str(paused.id): [Why.PAUSED],
        str(parked.id): [Why.PARKED],
        str(finding.id): [Why.FINDING],
    }


# Heartbeats -----------------------------------------------------------------------------------------------------------


def test_a_queue_is_asked_again_when_it_has_answered_or_the_question_may_be_lost(transactional_db: None) -> None:
    now = timezone.now()
    contexts = ["inventory", "notifications", "orders", "payments"]
    assert heartbeats.ask(by="sagas", now=now) == contexts
    assert heartbeats.ask(by="sagas", now=now + timedelta(seconds=5)) == []
    heartbeats.answered("orders", now=now + timedelta(seconds=6))
    assert heartbeats.ask(by="sagas", now=now + timedelta(seconds=10)) == ["orders"]
    assert heartbeats.ask(by="sagas", now=now + timedelta(seconds=13)) == ["inventory", "notifications", "payments"]


def test_a_queue_that_answers_no_more_is_silent_since_its_last_sign(transactional_db: None) -> None:
    now = timezone.now()
    heartbeats.ask(by="sagas", now=now)
    heartbeats.answered("orders", now=now + timedelta(seconds=20))
    assert heartbeats.silent(now=now + timedelta(seconds=29)) == {}
    silent = heartbeats.silent(now=now + timedelta(seconds=31))
    assert silent == dict.fromkeys(("inventory", "notifications", "payments", "sagas"), now)


def test_health_and_dashboard_tell_a_dead_worker_from_an_open_finding(boss: Client) -> None:
    heartbeats.answered("payments", now=timezone.now() - timedelta(minutes=2))
    health = Client().get("/api/health").json()
    assert (health["status"], health["needing_attention"], health["open_findings"]) == ("degraded", 0, 0)
    assert list(health["silent_queues"]) == ["payments"]
    assert health["silent_queues"]["payments"] == pytest.approx(120, abs=20)
    figures = {figure["name"]: figure["value"] for figure in boss.get("/admin/").context["figures"]}
    (named,) = [name for name in figures if name.startswith("queues without a worker for 2 min")]
    assert (figures[named], named.endswith(": payments")) == (1, True)
    Heartbeat.objects.update(alive_at=timezone.now())
    FindingFactory.create()
    health = Client().get("/api/health").json()
    assert (health["status"], health["open_findings"], health["silent_queues"]) == ("degraded", 1, {})


def test_what_waits_for_a_person_costs_as_many_statements_for_many_keys(
    place: Place, django_assert_max_num_queries: Callable[..., object]
) -> None:
    keys = [str(place().id) for _ in range(3)]
    drive()
    assert Event.objects.exists()
    for asked in (keys[:1], keys):
        with django_assert_max_num_queries(6):  # type: ignore[attr-defined]
            attention.of(asked, now=timezone.now())
