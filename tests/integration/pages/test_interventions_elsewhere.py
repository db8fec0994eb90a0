"""Interventions outside the work queue: buttons on other pages and in lists, and what people did."""

from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from orders.models import Order
from sagas.models import Delivery, Intervention, Run
from sagas.operations import interventions
from sagas.testing import drive
from shop.story.timeline import timeline
from tests.factories.orders import Place
from tests.factories.people import allowed

from .conftest import ADMIN, FORM, drive_later, drive_until_started, parked, said, send, stop_at, text_of, typed

# Buttons elsewhere ------------------------------------------------------------------------------------------------


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
    assert "It was cancelled: the printer is out. All that had been done for it is undone." in text_of(page)
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


# Audit ------------------------------------------------------------------------------------------------------------


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
