"""The form of an intervention: what will happen, with a reason, once; for one or for many."""

import json
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from orders.models import Order
from sagas.models import Intervention, Run
from sagas.operations import interventions
from sagas.testing import drive
from tests.concurrency import at_once
from tests.factories.orders import Place

from .conftest import (
    ADMIN,
    FORM,
    QUEUE,
    drive_later,
    drive_until_started,
    many,
    named,
    parked,
    said,
    send,
    stop,
    stop_at,
    text_of,
    typed,
)

# One --------------------------------------------------------------------------------------------------------------


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


# Many -------------------------------------------------------------------------------------------------------------


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
