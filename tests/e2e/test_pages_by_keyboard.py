"""What all pages of the admin do alike in a browser: a way past the navigation, a title, a first field, news."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.conftest import ROOT, wait_for
from tests.factories.journal import FindingFactory
from tests.factories.orders import Place
from tests.factories.people import StaffFactory, browser_of

from .conftest import Browser, text
from .test_work_queue import QUEUE, press, stop

#: Lists refresh as often as this.
REFRESH_SECONDS = (
    int(re.findall(r"REFRESH_MS = (\d+)", (ROOT / "backoffice/static/backoffice/pages.js").read_text())[0]) / 1000
)


def focused(browser: Browser, attribute: str) -> Callable[[], str]:
    return lambda: str(browser.execute_script(f"return document.activeElement.getAttribute('{attribute}') ?? ''"))


def test_the_first_tab_leads_past_the_navigation(browser: Browser, live_server: Any) -> None:
    browser.get(f"{live_server.url}/admin/sagas/run/")
    wait_for(lambda: browser.execute_script("return document.getElementById('content').tabIndex") == -1)
    press(browser, Keys.TAB)
    assert focused(browser, "class")() == "backoffice-skip"
    press(browser, Keys.ENTER)
    wait_for(lambda: focused(browser, "id")() == "content")


def test_the_number_of_an_order_is_whole_on_a_narrow_page(browser: Browser, live_server: Any, place: Place) -> None:
    order = place()
    narrow = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    browser.get(f"{live_server.url}/admin/orders/order/{order.id}/change/")
    crumbs = "[...document.querySelectorAll('#header-inner h1 > a')].filter(crumb => crumb.offsetParent)"
    shown = browser.execute_script(
        f"return {crumbs}.map(crumb => [crumb.innerText.trim(), crumb.scrollWidth <= crumb.clientWidth])"
    )
    assert shown == [["Orders", True], [order.number, True]]


@pytest.mark.parametrize(("path", "field"), [("orders/product/add/", "sku"), ("orders/order/add/", "customer_name")])
def test_a_form_has_its_first_field_ready_for_typing(browser: Browser, live_server: Any, path: str, field: str) -> None:
    browser.get(f"{live_server.url}/admin/{path}")
    wait_for(lambda: focused(browser, "name")() == field)


def test_a_list_shows_a_new_order_by_itself_and_not_while_something_is_checked(
    browser: Browser, live_server: Any, place: Place
) -> None:
    browser.get(f"{live_server.url}{QUEUE}")
    browser.execute_script("window.samePage = true")
    first = place()
    stop(first)
    wait_for(lambda: f"Order {first.number}" in text(browser, ".saga-page")())
    browser.find_element(By.CSS_SELECTOR, "input[name=pick]").click()
    wait_for(lambda: text(browser, "[data-chosen]")() == "1 chosen")
    # The check mark alone holds the list still, without the focus.
    browser.execute_script("document.activeElement.blur()")
    later = place()
    stop(later)
    time.sleep(REFRESH_SECONDS + 1)
    assert f"Order {later.number}" not in text(browser, ".saga-page")()
    browser.find_element(By.CSS_SELECTOR, "input[name=pick]").click()
    browser.execute_script("document.activeElement.blur()")
    wait_for(lambda: f"Order {later.number}" in text(browser, ".saga-page")())
    assert browser.execute_script("return window.samePage")
    browser.get(f"{live_server.url}/admin/orders/order/")
    browser.execute_script("window.samePage = true")
    second = place()
    wait_for(lambda: second.number in text(browser, "#result_list")())
    assert browser.execute_script("return window.samePage")


def test_a_list_with_check_marks_refreshes_and_its_check_marks_work(
    browser: Browser, live_server: Any, place: Place
) -> None:
    browser.get(f"{live_server.url}/admin/sagas/run/")
    for _ in range(2):
        stop(place())
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#result_list input.action-select")) == 2)
    browser.execute_script("window.samePage = true")
    stop(place())
    wait_for(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#result_list input.action-select")) == 3)
    assert browser.execute_script("return window.samePage")
    browser.find_element(By.ID, "action-toggle").click()
    chosen = "return document.querySelectorAll('#result_list input.action-select:checked').length"
    wait_for(lambda: browser.execute_script(chosen) == 3)


def test_an_action_on_nothing_says_so(browser: Browser, live_server: Any, place: Place) -> None:
    stop(place())
    browser.get(f"{live_server.url}{QUEUE}")
    browser.find_element(By.CSS_SELECTOR, "button[name=action][value=retry]").click()
    wait_for(lambda: text(browser, "[data-chosen]")() == "Nothing is chosen: check some rows first.")
    assert browser.current_url.endswith(QUEUE)


def test_a_long_finding_is_shown_whole_on_a_narrow_screen(browser: Browser, live_server: Any) -> None:
    FindingFactory.create(message="word " * 60)
    browser.set_window_size(400, 900)
    browser.get(f"{live_server.url}/admin/sagas/finding/")
    clipped = """const isClipped = (cell) =>
            cell.scrollHeight > cell.clientHeight + 1 || cell.scrollWidth > cell.clientWidth + 1;
        return [...document.querySelectorAll('#result_list :is(td, th)')].filter(isClipped).length"""
    assert browser.execute_script(clipped) == 0


def test_who_may_not_see_a_page_reads_why_and_the_way_back(shelves: None) -> None:
    page = browser_of(StaffFactory.create(username="ada")).get("/admin/orders/order/")
    assert page.status_code == 403
    assert "You are logged in as <b>ada</b>, and this account lacks the permission." in page.content.decode()
    assert 'href="/admin/"' in page.content.decode()


def test_a_favicon_is_there_for_pages_that_name_none(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"] == "/static/shop/icon.svg"
