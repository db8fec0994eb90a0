"""The work queue: what needs a person is found, acted on with a reason, once, and only by who may."""

import json
import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Intervention, Run, StepRun
from sagas.operations import heartbeats, interventions
from sagas.operations.subjects import of
from sagas.testing import MovableClock, drive
from shop.story.timeline import timeline
from tests.concurrency import at_once
from tests.factories.journal import ParkedDeliveryFactory, StepRunFactory, StoppedRunFactory
from tests.factories.orders import Place
from tests.factories.people import allowed, browser_of_the_boss

ADMIN = "/admin/sagas/intervention"
QUEUE, FORM = f"{ADMIN}/queue/", f"{ADMIN}/intervene/"


@pytest.fixture
def boss(shelves: None) -> Client:
    return browser_of_the_boss()


def stop(run: Run, *, step: str = "confirm-order", error: str = "Broken", minutes: int = 0) -> Run:
    """Put a run in front of a person, as an engine that gave up at a step does."""
    row = run.steps.get(name=step)
    run.steps.filter(place__lt=row.place).exclude(status="skipped").update(status="done", finished_at=timezone.now())
    run.steps.filter(pk=row.pk).update(
        status="failed", attempts=12, started_at=timezone.now(), finished_at=timezone.now()
    )
    Run.objects.filter(pk=run.pk).update(
        status="needs_attention",
        resumes_as="running",
        stopped_at=timezone.now() - timedelta(minutes=minutes),
        place=row.place,
        due_at=None,
        attention={"step": step, "kind": "unexpected", "error": error, "message": "the printer burns"},
    )
    return Run.objects.get(pk=run.pk)


@pytest.fixture
def stuck(place: Place) -> Run:
    """A run that stopped behind its pivot; its stock is booked."""
    return stop_at(place, "confirm-order")


def stop_at(place: Place, step: str, **more: Any) -> Run:
    order = place()
    drive_until_started(order)
    return stop(Run.objects.get(key=order.id), step=step, **more)


def drive_until_started(order: Order) -> None:
    relay_events(now=timezone.now(), limit=500)
    assert Run.objects.filter(key=order.id).exists()


def drive_later() -> None:
    """Do what the messages that were sent would have done by now."""
    clock = MovableClock()
    clock.move(minutes=2)
    drive(now=clock)


def parked(order: Order, count: int = 1, error: str = "ChannelDown: no route") -> list[Delivery]:
    event = Event.objects.filter(key=str(order.id)).earliest("position")
    names = ["send-notification", *(f"other-{number}" for number in range(count - 1))]
    return [ParkedDeliveryFactory.create(event=event, subscription=name, error=error) for name in names]


def pick(subject: Run | Delivery) -> str:
    kind = "run" if isinstance(subject, Run) else "delivery"
    return f"{kind}:{subject.pk}@{of(subject).version_token}"


def typed(action: str, *subjects: Run | Delivery, **more: Any) -> dict[str, Any]:
    """Return the form as somebody sends it."""
    return {
        "action": action,
        "pick": [pick(subject) for subject in subjects],
        "count": len(subjects),
        "batch": str(uuid4()),
        "reason": "the printer is out",
        "back": QUEUE,
    } | more


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def named(run: Run) -> str:
    return f"order {Order.objects.get(id=run.key).number}"


def listed(response: Any) -> list[str]:
    return [row.summary.key for row in response.context["rows"]]


def send(client: Client, form: dict[str, Any]) -> Any:
    return client.post(FORM, form, follow=True)


# The list -------------------------------------------------------------------------------------------------------------


def test_all_that_needs_a_person_is_in_one_list_with_its_facts(boss: Client, place: Place, stuck: Run) -> None:
    other = place()
    drive_until_started(other)
    parked(other)
    page = boss.get(QUEUE)
    assert set(listed(page)) == {stuck.key, str(other.id)}
    words = text_of(page)
    order = Order.objects.get(id=stuck.key)
    for fact in (
        f"Order {order.number}", "confirm-order", "the printer burns", "Broken", "unexpected", "12 tries",
        "send-notification", "no route", "8 tries",
    ):  # fmt: skip
        assert fact in words
    assert f'href="/admin/orders/order/{order.id}/change/"' in page.content.decode()


def test_only_what_applies_now_is_offered(boss: Client, place: Place) -> None:
    behind, before = stop_at(place, "confirm-order"), stop_at(place, "capture-payment")
    (delivery,) = parked(Order.objects.get(id=before.key))
    rows = {row.summary.pk: [str(button.action) for button in row.buttons] for row in boss.get(QUEUE).context["rows"]}
    assert rows == {
        str(behind.pk): ["retry", "skip"],
        str(before.pk): ["retry", "skip", "undo", "cancel"],
        str(delivery.pk): ["retry", "skip"],
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"a", "b", "c"}),
        ("kind=run", {"a", "b"}),
        ("kind=delivery", {"c"}),
        ("process=send-notification", {"c"}),
        ("process=fulfil-order", {"a", "b"}),
        ("step=capture-payment", {"b"}),
        ("error=Broken", {"a"}),
        ("error=Late&kind=run", {"b"}),
        ("error=ChannelDown", {"c"}),
        ("error=Nothing", set()),
        ("kind=run%00&page=99999999999", {"a", "b"}),
    ],
)
def test_the_list_is_narrowed_by_kind_process_step_and_error(
    boss: Client, place: Place, query: str, found: set[str]
) -> None:
    keys = {
        stop_at(place, "confirm-order").key: "a",
        stop_at(place, "capture-payment", error="Late").key: "b",
    }
    other = place()
    drive_until_started(other)
    parked(other)
    keys[str(other.id)] = "c"
    page = boss.get(f"{QUEUE}?{query}")
    assert {keys[key] for key in listed(page)} == found
    assert page.context["total"] == len(found)


def test_who_waits_longest_comes_first_and_fifty_are_a_page(boss: Client, place: Place) -> None:
    order = place()
    drive_until_started(order)
    many(order, 60)
    first, second = boss.get(QUEUE), boss.get(f"{QUEUE}?page=2")
    assert (len(listed(first)), len(listed(second))) == (50, 10)
    assert not set(listed(first)) & set(listed(second))
    since = [row.summary.since for page in (first, second) for row in page.context["rows"]]
    assert since == sorted(since)


def many(order: Order, count: int) -> None:
    """Add runs that stopped, one step before their end."""
    run = Run.objects.get(key=order.id)
    runs = StoppedRunFactory.build_batch(
        count, saga=run.saga, input=run.input, attention__step="notify-customer", attention__message="it burns"
    )
    Run.objects.bulk_create(runs)
    StepRun.objects.bulk_create(StepRunFactory.build(run=run, name="notify-customer", status="failed") for run in runs)


def test_the_list_costs_the_same_for_one_and_for_five_hundred(boss: Client, place: Place) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert boss.get(QUEUE).status_code == 200
        return len(captured)

    stuck = stop_at(place, "confirm-order")
    order = Order.objects.get(id=stuck.key)
    parked(order)
    for queue in heartbeats.queues():
        heartbeats.answered(queue, now=timezone.now())
    few = count()
    many(order, 500)
    parked_more = place()
    drive_until_started(parked_more)
    parked(parked_more, 200)
    assert count() <= few <= 18


def test_an_empty_queue_says_so(boss: Client) -> None:
    assert "Nothing needs a person." in text_of(boss.get(QUEUE))


# The form -------------------------------------------------------------------------------------------------------------


def test_a_button_leads_to_a_form_that_says_what_will_happen_and_changes_nothing(boss: Client, stuck: Run) -> None:
    row = boss.get(QUEUE).context["rows"][0]
    words = text_of(boss.get(row.buttons[0].url))
    for fact in ("Try again what failed, with all its tries.", "the printer burns", "confirm-order", stuck.key):
        assert fact in words
    assert not Intervention.objects.exists()
    assert boss.get(FORM, typed("retry", stuck)).status_code == 200
    assert not Intervention.objects.exists()


def test_the_form_for_runs_and_deliveries_says_what_happens_to_which(boss: Client, stuck: Run) -> None:
    parked(Order.objects.get(id=stuck.key))
    words = text_of(boss.get(f"{FORM}?action=retry&all=1&status=needs_attention"))
    assert "Runs: Try again what failed, with all its tries." in words
    assert "Parked deliveries: Try it again, with all its tries." in words


def test_a_retry_is_done_at_once_with_its_reason_and_the_person_comes_back(boss: Client, stuck: Run) -> None:
    response = send(boss, typed("retry", stuck, back=f"{QUEUE}?kind=run"))
    assert response.redirect_chain == [(f"{QUEUE}?kind=run", 302)]
    assert said(response) == [f"Done: “confirm-order” of {named(stuck)} is tried again."]
    asked = Intervention.objects.get()
    assert (asked.by, asked.reason, asked.status, asked.applied_to) == (
        "boss",
        "the printer is out",
        "done",
        "confirm-order",
    )
    drive()
    assert Order.objects.get(id=stuck.key).status == "confirmed"


def test_a_stale_click_changes_nothing_and_says_so(boss: Client, stuck: Run) -> None:
    form = typed("skip", stuck)
    send(boss, typed("retry", stuck))
    before = Run.objects.values().get()
    (message,) = said(send(boss, form))
    assert message == (
        f"Skip “confirm-order” of {named(stuck)} was refused. It moved on meanwhile: it is running now."
        " Nothing was changed."
    )
    assert Run.objects.values().get() == before


def test_the_form_of_an_action_that_no_longer_applies_offers_what_does(boss: Client, stuck: Run) -> None:
    page = boss.get(FORM, typed("undo", stuck))
    assert "Undo does not apply now, as it stands: needs attention. Nothing was changed." in text_of(page)
    assert '<form class="saga-card' not in page.content.decode()
    assert [str(button.action) for button in page.context["others"]] == ["retry", "skip"]


def test_a_form_that_is_sent_twice_asks_once_and_says_done_twice(boss: Client, stuck: Run) -> None:
    form = typed("skip", stuck, result='{"by": "hand"}')
    done = [f"Done: “confirm-order” of {named(stuck)} is taken as done."]
    assert said(send(boss, form)) == said(send(boss, form)) == done
    assert Intervention.objects.count() == 1


def test_two_forms_sent_at_the_same_moment_ask_once(boss: Client, stuck: Run) -> None:
    form = typed("retry", stuck)
    answers = at_once(lambda: send(boss, form).status_code, lambda: send(boss, form).status_code)
    assert answers == [200, 200]
    assert Intervention.objects.count() == 1


def test_a_run_that_a_worker_holds_is_done_by_the_sweep(boss: Client, stuck: Run) -> None:
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).get(pk=stuck.pk)
        (message,) = at_once(lambda: said(send(boss, typed("retry", stuck)))[0])
    assert str(message) == (
        f"Retry “confirm-order” of {named(stuck)} is written down: a worker is at it, it is done next."
    )
    assert Intervention.objects.get().status == "pending"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"reason": "  "}, "This field is required."),
        ({"reason": "\x00"}, "Null characters are not allowed."),
        ({"result": "[1]"}, "The result is a JSON object"),
        ({"result": "{"}, "The result is not JSON"),
        ({"batch": "x"}, "What will happen"),
    ],
)
def test_what_is_typed_wrong_is_said_and_nothing_is_done(
    boss: Client, stuck: Run, wrong: dict[str, str], words: str
) -> None:
    response = boss.post(FORM, typed("skip", stuck, **wrong))
    assert response.status_code == 400
    assert words in text_of(response)
    assert not Intervention.objects.exists()


def test_the_result_of_a_skipped_step_is_handed_on_and_exampled(boss: Client, place: Place) -> None:
    place()
    drive()
    run = stop_at(place, "book-shipment")
    page = boss.get(FORM, typed("skip", run))
    assert "tracking_number" in json.loads(page.context["example"])
    send(boss, typed("skip", run, result='{"tracking_number": "PX1"}'))
    drive_later()
    run.refresh_from_db()
    assert (run.status, run.results["book-shipment"]) == ("completed", {"tracking_number": "PX1"})


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", ""])
def test_nobody_is_led_away(boss: Client, stuck: Run, back: str) -> None:
    assert boss.post(FORM, typed("retry", stuck, back=back)).headers["Location"] == QUEUE


@pytest.mark.parametrize(
    "query", ["action=explode", "action=retry&pick=run:x@", "action=retry&pick=delivery:-1@", "action=retry"]
)
def test_nonsense_does_nothing(boss: Client, query: str) -> None:
    assert boss.get(f"{FORM}?{query}").status_code in (302, 404)
    assert (
        boss.post(FORM, {"action": "retry", "pick": "run:x", "batch": str(uuid4()), "reason": "x"}).status_code == 302
    )


# Who may --------------------------------------------------------------------------------------------------------------


def test_who_may_only_look_sees_no_buttons_and_is_refused(stuck: Run) -> None:
    (delivery,) = parked(Order.objects.get(id=stuck.key))
    viewer = allowed("sagas.view_run", "sagas.view_delivery")
    page = viewer.get(QUEUE)
    assert len(listed(page)) == 2
    assert FORM not in page.content.decode().replace(f'action="{FORM}"', "")
    assert "saga-bar" not in page.content.decode()
    assert 'name="pick"' not in page.content.decode()
    for subject in (stuck, delivery):
        assert viewer.get(FORM, typed("retry", subject)).status_code == 403
        assert viewer.post(FORM, typed("retry", subject)).status_code == 403
    assert viewer.post(FORM, typed("retry", all="1", count=9)).status_code == 403
    assert not Intervention.objects.exists()
    assert allowed().get(QUEUE).status_code == 403


def test_who_may_change_runs_may_not_change_deliveries(stuck: Run) -> None:
    (delivery,) = parked(Order.objects.get(id=stuck.key))
    clerk = allowed("sagas.view_run", "sagas.change_run")
    assert listed(clerk.get(QUEUE)) == [stuck.key]
    assert clerk.post(FORM, typed("retry", delivery)).status_code == 403
    assert clerk.post(FORM, typed("retry", stuck, delivery)).status_code == 403
    assert clerk.post(FORM, typed("retry", all="1", count=9)).status_code == 302
    assert [(asked.kind, asked.subject_id) for asked in Intervention.objects.all()] == [("run", str(stuck.pk))]


def test_a_form_without_its_token_is_refused(boss: Client, stuck: Run) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="boss"))
    assert strict.post(FORM, typed("retry", stuck)).status_code == 403
    assert not Intervention.objects.exists()


# Many -----------------------------------------------------------------------------------------------------------------


def test_all_that_match_the_filter_are_one_batch_and_never_more_than_were_shown(boss: Client, place: Place) -> None:
    order = place()
    drive_until_started(order)
    many(order, 120)
    stop(Run.objects.get(key=order.id), error="Else")
    asked = {"all": "1", "status": "needs_attention", "error": "Broken"}
    page = boss.get(FORM, {"action": "skip", **asked})
    assert page.context["count"] == 120
    many(order, 5)
    response = boss.post(FORM, typed("skip", **asked, count=120))
    batch = UUID(response.headers["Location"].split("/batch/")[1].split("/")[0])
    assert interventions.progress(batch).total == 120
    meant = Run.objects.filter(pk__in=list(Intervention.objects.values_list("subject_id", flat=True)))
    assert set(meant.values_list("attention__error", flat=True)) == {"Broken"}
    part = f"{ADMIN}/batch/{batch}/part/"
    assert 'data-poll-ms="700"' in boss.get(part).content.decode()
    Run.objects.filter(pk=Intervention.objects.earliest("pk").subject_id).update(epoch=9)
    while interventions.work(now=timezone.now(), batch=batch).done:
        pass
    words = text_of(boss.get(response.headers["Location"]))
    assert "Skip: all 120 are through" in words
    assert "119 done" in words
    assert "1 It moved on meanwhile: it needs attention now. Nothing was changed." in words
    assert 'data-poll-ms="0"' in boss.get(part).content.decode()


def test_some_that_were_picked_are_refused_where_they_moved_on(boss: Client, place: Place) -> None:
    runs = [stop_at(place, "confirm-order") for _ in range(3)]
    form = typed("retry", *runs)
    Run.objects.filter(pk=runs[0].pk).update(epoch=7)
    boss.post(FORM, form)
    interventions.work(now=timezone.now())
    assert list(Intervention.objects.order_by("subject_id").values_list("status", flat=True)) == [
        "refused",
        "done",
        "done",
    ]


def test_a_page_of_picks_is_posted_for_it_is_too_long_for_an_address(boss: Client, place: Place) -> None:
    order = place()
    drive_until_started(order)
    many(order, 50)
    runs = Run.objects.filter(status="needs_attention")
    shown = {name: value for name, value in typed("retry", *runs).items() if name not in ("batch", "reason")}
    page = boss.post(FORM, shown)
    assert (page.status_code, page.context["count"]) == (200, 50)
    assert not Intervention.objects.exists()
    assert 'method="post"' in boss.get(QUEUE).content.decode().partition('id="saga-many"')[2][:40]


def test_a_batch_that_nobody_asked_for_is_not_found(boss: Client) -> None:
    assert boss.get(f"{ADMIN}/batch/{uuid4()}/").status_code == 404


# Buttons elsewhere ----------------------------------------------------------------------------------------------------


def test_the_pages_of_run_delivery_and_order_have_the_same_buttons(boss: Client, stuck: Run) -> None:
    (delivery,) = parked(Order.objects.get(id=stuck.key))
    run_page = boss.get(f"/admin/sagas/run/{stuck.pk}/change/").content.decode()
    delivery_page = boss.get(f"/admin/sagas/delivery/{delivery.pk}/change/").content.decode()
    order_page = boss.get(f"/admin/orders/order/{stuck.key}/change/")
    assert f"pick=run%3A{stuck.pk}" in run_page
    assert f"pick=delivery%3A{delivery.pk}" in delivery_page
    assert [label for label, _, _ in order_page.context["acts"]] == [
        "Retry “confirm-order”", "Skip “confirm-order”", "Retry “send-notification”", "Skip “send-notification”",
    ]  # fmt: skip
    for page in (run_page, delivery_page, order_page.content.decode()):
        assert FORM in page


def test_an_order_is_cancelled_from_its_page(boss: Client, place: Place) -> None:
    order = place()
    drive_until_started(order)
    page = boss.get(f"/admin/orders/order/{order.id}/change/")
    urls = {label: url for label, url, _ in page.context["acts"]}
    assert list(urls) == ["Undo order", "Cancel order", "Pause"]
    assert "The customer reads the reason." in text_of(boss.get(urls["Cancel order"]))
    response = send(boss, typed("cancel", Run.objects.get(), back=f"/admin/orders/order/{order.id}/change/"))
    assert f"Done: order {order.number} is being cancelled." in said(response)
    drive_later()
    page = boss.get(f"/admin/orders/order/{order.id}/change/")
    assert "It was called off: the printer is out. All that had been done for it is undone." in text_of(page)
    assert page.context["acts"] == []
    order.refresh_from_db()
    assert (order.status, order.reason) == ("cancelled", "the printer is out")


@pytest.mark.parametrize("across", ["0", "1"])
def test_rows_selected_in_a_list_go_through_the_same_form(boss: Client, place: Place, across: str) -> None:
    runs = [stop_at(place, "confirm-order") for _ in range(2)]
    path = "/admin/sagas/run/?status__exact=needs_attention"
    chosen = {"action": "retry", "select_across": across, "_selected_action": [str(run.pk) for run in runs]}
    page = boss.post(path, chosen, follow=True)
    assert page.context["count"] == 2
    hidden = page.context["hidden"]
    form = {name: [value for other, value in hidden if other == name] for name, _ in hidden}
    boss.post(FORM, form | {"reason": "x", "batch": str(uuid4())})
    interventions.work(now=timezone.now())
    assert list(Intervention.objects.values_list("status", flat=True)) == ["done", "done"]


def test_all_of_a_list_that_is_filtered_in_a_way_we_do_not_know_is_not_meant(boss: Client, stuck: Run) -> None:
    chosen = {"action": "retry", "select_across": "1", "_selected_action": [str(stuck.pk)]}
    response = boss.post("/admin/sagas/run/?place__gt=1", chosen)
    assert response.headers["Location"].startswith("/admin/sagas/run/")


def test_all_deliveries_that_are_done_are_not_those_that_are_parked(boss: Client, place: Place) -> None:
    place()
    drive()
    done = Delivery.objects.get()
    parked(place())
    chosen = {"action": "retry", "select_across": "1", "_selected_action": [str(done.pk)]}
    response = boss.post("/admin/sagas/delivery/?status__exact=done", chosen, follow=True)
    assert said(response) == ["There is nothing to do: nothing was chosen, or it is gone."]


def test_who_may_not_change_runs_has_no_actions_in_the_list(stuck: Run) -> None:
    viewer = allowed("sagas.view_run")
    chosen = {"action": "retry", "_selected_action": [str(stuck.pk)]}
    assert FORM not in viewer.post("/admin/sagas/run/", chosen).headers.get("Location", "")
    assert FORM not in viewer.get(f"/admin/sagas/run/{stuck.pk}/change/").content.decode()


# Audit ----------------------------------------------------------------------------------------------------------------


def test_what_people_did_can_be_looked_up_and_not_changed(boss: Client, stuck: Run) -> None:
    send(boss, typed("retry", stuck))
    asked = Intervention.objects.get()
    words = text_of(boss.get(f"{ADMIN}/?status__exact=done&action__exact=retry"))
    assert "the printer is out" in words
    assert boss.get(f"{ADMIN}/?batch={asked.batch}").context["cl"].result_count == 1
    assert boss.get(f"{ADMIN}/", {"q": stuck.key}).context["cl"].result_count == 1
    assert "the printer is out" in text_of(boss.get(f"/admin/sagas/run/{stuck.pk}/change/"))
    assert boss.get(f"{ADMIN}/{asked.pk}/change/").status_code == 200
    assert boss.post(f"{ADMIN}/{asked.pk}/change/", {}).status_code == 403
    assert boss.get(f"{ADMIN}/{asked.pk}/delete/").status_code == 403


def test_what_people_did_is_on_the_timeline(boss: Client, stuck: Run) -> None:
    form = typed("skip", stuck)
    send(boss, typed("retry", stuck))
    send(boss, form)
    drive()
    entries = [entry for entry in timeline(UUID(stuck.key)) if entry.kind == "intervention"]
    assert [(entry.title, entry.status, entry.detail) for entry in entries] == [
        ("boss retried “confirm-order”", "done", "the printer is out"),
        (
            "boss could not skip “confirm-order”",
            "refused",
            "the printer is out · It moved on meanwhile: it is running now. Nothing was changed.",
        ),
    ]
    assert "boss retried “confirm-order”" in text_of(boss.get(f"/admin/orders/order/{stuck.key}/change/"))
