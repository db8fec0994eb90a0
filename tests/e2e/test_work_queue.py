"""The work queue as its user sees it: clicked, by keyboard, on a narrow screen, and ten thousand at once."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from orders.models import Order
from sagas.core.ids import new_id
from sagas.log.relay import relay_events
from sagas.models import Intervention, Run, StepRun
from sagas.operations import interventions
from tests.conftest import Processes, wait_for
from tests.factories.orders import Place
from tests.factories.people import browser_of_the_boss

from .conftest import Browser, text

QUEUE, FORM = "/admin/sagas/intervention/queue/", "/admin/sagas/intervention/intervene/"


def stop(order: Order) -> None:
    """Have the run of an order stand in front of a person, behind its pivot."""
    relay_events(now=timezone.now(), limit=500)
    run = Run.objects.get(key=order.id)
    row = run.steps.get(name="confirm-order")
    run.steps.filter(place__lt=row.place).exclude(status="skipped").update(status="done")
    run.steps.filter(pk=row.pk).update(status="failed", attempts=12)
    Run.objects.filter(pk=run.pk).update(
        status="needs_attention",
        resumes_as="running",
        stopped_at=timezone.now(),
        place=row.place,
        due_at=None,
        results={"book-shipment": {"tracking_number": "PX1"}},
        attention={"step": row.name, "kind": "unexpected", "error": "Broken", "message": "the printer burns"},
    )


def test_a_stuck_order_is_found_in_the_work_queue_and_retried_by_clicking(
    browser: Browser, live_server: Any, place: Place, processes: Processes
) -> None:
    order = place()
    stop(order)
    processes.worker()
    browser.get(f"{live_server.url}{QUEUE}")
    wait_for(lambda: f"Order {order.number}" in text(browser, ".saga-row")())
    browser.find_element(By.CSS_SELECTOR, ".saga-row .saga-button").click()
    wait_for(lambda: "/intervene/" in browser.current_url)
    wait_for(lambda: "Try again what failed" in text(browser, ".saga-card")())
    browser.find_element(By.NAME, "reason").send_keys("the printer is out")
    browser.find_element(By.CSS_SELECTOR, "button.saga-primary").click()
    wait_for(lambda: browser.current_url.endswith(QUEUE))
    wait_for(lambda: f"Done: “confirm-order” of order {order.number} is tried again." in text(browser, "body")())
    wait_for(lambda: "Nothing needs a person." in text(browser, "body")())
    wait_for(lambda: Order.objects.get().status == "confirmed")
    browser.get(f"{live_server.url}/admin/orders/order/{order.id}/change/")
    wait_for(lambda: "boss retried “confirm-order”" in text(browser, ".shop-timeline")())


def press(browser: Browser, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def tab_to(browser: Browser, selector: str) -> None:
    """Go to an element as somebody does who has no mouse."""
    for _ in range(80):
        press(browser, Keys.TAB)
        if browser.execute_script(f"return document.activeElement.matches('{selector}')"):
            return
    pytest.fail(f"no {selector} is reached by the tabulator")


def test_several_are_picked_and_retried_by_keyboard_on_a_narrow_screen(
    browser: Browser, live_server: Any, place: Place
) -> None:
    browser.set_window_size(400, 900)
    for _ in range(3):
        stop(place())
    browser.get(f"{live_server.url}{QUEUE}")
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not browser.execute_script(wide)
    tab_to(browser, "[data-all]")
    press(browser, Keys.SPACE)
    wait_for(lambda: text(browser, "[data-chosen]")() == "3 chosen")
    tab_to(browser, "button[name=action][value=retry]")
    press(browser, Keys.ENTER)
    wait_for(lambda: "/intervene/" in browser.current_url)
    assert not browser.execute_script(wide)
    wait_for(lambda: browser.switch_to.active_element.get_attribute("name") == "reason")
    press(browser, "the printer is out")
    tab_to(browser, "button.saga-primary")
    press(browser, Keys.ENTER)
    wait_for(lambda: "/batch/" in browser.current_url)
    assert not browser.execute_script(wide)
    wait_for(lambda: "0 of 3" in text(browser, "[data-part] h2")())
    browser.execute_script("window.samePage = true")
    assert interventions.work(now=timezone.now()).done == 3
    wait_for(lambda: "all 3 are through" in text(browser, "[data-part] h2")())
    assert browser.execute_script("return window.samePage")


def ten_thousand() -> None:
    """Write down runs that gave up at the last step of their undo, of which nothing is left to do."""
    now = timezone.now()
    runs = Run.objects.bulk_create(
        [
            Run(
                saga="fulfil-order", definition_hash="x", key=str(new_id()), status="needs_attention",
                resumes_as="undoing", stopped_at=now - timedelta(seconds=number), place=0, input=INPUT,
                failure={"step": "", "kind": "rejected", "error": "No", "message": "no"},
                attention={"step": "release-credit", "kind": "unexpected", "error": "Broken", "message": "it burns"},
                event_id=new_id(), correlation_id=new_id(), started_at=now,
            )
            for number in range(10_000)
        ],
        batch_size=1000,
    )  # fmt: skip
    StepRun.objects.bulk_create(
        [
            StepRun(
                run=run, place=0, name="release-credit", step="hold-credit", action="undo", status="failed",
                attempts=12, idempotency_key=str(run.pk), started_at=now, finished_at=now,
            )
            for run in runs
        ],
        batch_size=1000,
    )  # fmt: skip


INPUT = {
    "order_id": str(UUID(int=1)), "number": "S1", "customer_email": "a@example.com", "customer_name": "A",
    "payment_method": "invoice", "currency": "GBP", "total_minor": 1, "lines": [],
}  # fmt: skip


@pytest.mark.timeout(600)
def test_ten_thousand_parked_runs_are_drained(shelves: None, processes: Processes) -> None:
    ten_thousand()
    client = browser_of_the_boss()
    page = client.get(QUEUE)
    assert (page.context["total"], len(page.context["rows"])) == (10_000, 50)
    asked = {"all": "1", "status": "needs_attention", "error": "Broken", "action": "skip"}
    form = client.get(FORM, asked)
    typed = {"batch": str(new_id()), "reason": "released by hand"} | dict(form.context["hidden"])
    path = client.post(FORM, typed).headers["Location"]
    assert client.get(path).context["far"].pending == 10_000
    processes.worker()
    processes.beat()
    for share in (1, 25, 50, 75, 100):
        wait_for(lambda share=share: percent() >= share, seconds=120, why=lambda: f"{percent()} %")  # type: ignore[misc]
        assert client.get(path).context["percent"] >= share
    assert client.get(path).context["far"].done == 10_000
    assert not Run.objects.exclude(status="undone").exists()
    assert "Nothing needs a person." in client.get(QUEUE).content.decode()


def percent() -> int:
    return Intervention.objects.exclude(status="pending").count() // 100
