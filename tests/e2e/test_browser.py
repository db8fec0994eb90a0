"""The admin as its user sees it: Chromium against a live server, with real workers behind it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from orders.models import Order, OrderLine
from tests.conftest import Processes, wait_for

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="the browser test needs chromium and chromedriver (Debian: apt install chromium chromium-driver)",
)

Browser = webdriver.Chrome


@pytest.fixture
def browser(live_server: Any, shelves: None, tmp_path: Path) -> Iterator[Browser]:
    """A browser in which somebody is logged in who may do everything."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        client = Client()
        client.force_login(User.objects.create_superuser("boss"))
        chromium.get(f"{live_server.url}/admin/login/")
        chromium.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value})
        yield chromium
        assert errors(chromium) == []
    finally:
        chromium.quit()


def errors(browser: Any) -> list[str]:
    """Return what went wrong on the pages, by the browser's console."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def choose(browser: Browser, row: int, product: str, quantity: int) -> None:
    """Choose a product by typing, as somebody does who uses the keyboard only."""
    browser.find_element(By.CSS_SELECTOR, f"#id_lines-{row}-product + .select2 .select2-selection").send_keys(
        Keys.ENTER
    )
    focused = "return document.activeElement.className"
    wait_for(lambda: "select2-search__field" in browser.execute_script(focused))
    typing = browser.switch_to.active_element
    typing.send_keys(product)
    offered = "return [...document.querySelectorAll('li[aria-selected]')].map(item => item.innerText)"
    wait_for(lambda: browser.execute_script(offered) == [product], why=lambda: str(browser.execute_script(offered)))
    typing.send_keys(Keys.ENTER)
    field = browser.find_element(By.NAME, f"lines-{row}-quantity")
    field.clear()
    field.send_keys(str(quantity))


def text(browser: Browser, selector: str) -> Callable[[], str]:
    return lambda: str(browser.execute_script(f"return document.querySelector('{selector}')?.innerText ?? ''"))


def fill_in(browser: Browser, url: str, method: str) -> None:
    browser.get(f"{url}/admin/orders/order/add/")
    browser.find_element(By.NAME, "customer_name").send_keys("Ada Lovelace")
    browser.find_element(By.NAME, "customer_email").send_keys("ada@example.com")
    Select(browser.find_element(By.NAME, "payment_method")).select_by_value(method)


def test_the_total_follows_what_is_typed_and_is_what_is_ordered(browser: Browser, live_server: Any) -> None:
    fill_in(browser, live_server.url, "tok_visa")
    total = text(browser, "#shop-total-amount")
    assert total() == "-"
    choose(browser, 0, "MUG Mug", 2)
    wait_for(lambda: total() == "£20.00")
    choose(browser, 1, "LAMP Lamp", 30)
    wait_for(lambda: total() == "£1,520.00")
    browser.find_element(By.CSS_SELECTOR, ".delete-template").click()
    wait_for(lambda: total() == "£1,500.00")
    browser.find_element(By.NAME, "lines-1-quantity").send_keys("0")
    wait_for(lambda: total() == "£15,000.00")
    assert "100 left" in text(browser, ".shop-hint-bad")()
    browser.find_element(By.NAME, "lines-1-quantity").send_keys(Keys.BACKSPACE)
    browser.find_element(By.CSS_SELECTOR, ".add-row").click()
    choose(browser, 3, "TRAY Tray", 1)
    wait_for(lambda: total() == "£1,525.00")
    browser.find_element(By.NAME, "_save").click()
    wait_for(lambda: "/change/" in browser.current_url)
    assert set(OrderLine.objects.values_list("sku", "quantity")) == {("LAMP", 30), ("TRAY", 1)}


def test_an_order_placed_in_the_browser_is_confirmed_before_ones_eyes(
    browser: Browser, live_server: Any, processes: Processes
) -> None:
    fill_in(browser, live_server.url, "tok_visa")
    choose(browser, 0, "MUG Mug", 2)
    wait_for(lambda: text(browser, "#shop-total-amount")() == "£20.00")
    browser.find_element(By.NAME, "_save").click()
    wait_for(lambda: "/change/" in browser.current_url)
    pill, sentence = text(browser, ".shop-pill"), text(browser, ".shop-sentence")
    assert "Pending" in pill()

    # Still the same page a while later: it is not loaded again, and what was unfolded stays so.
    browser.execute_script("window.samePage = true; document.querySelector('.shop-entry details').open = true")
    processes.worker()
    processes.beat()
    wait_for(lambda: "Confirmed" in pill())
    wait_for(lambda: sentence() == "Everything is done.")
    wait_for(lambda: browser.execute_script("return document.querySelector('.shop-story').dataset.pollMs") == "0")
    assert browser.execute_script("return window.samePage && document.querySelector('.shop-entry details').open")
    titles = [title.text for title in browser.find_elements(By.CSS_SELECTOR, ".shop-title b")]
    assert titles[0] == "Order placed"
    assert titles[-1] == "Notification sent"
    assert Order.objects.get().status == "confirmed"


def test_a_double_click_places_one_order(browser: Browser, live_server: Any) -> None:
    fill_in(browser, live_server.url, "tok_visa")
    choose(browser, 0, "MUG Mug", 1)
    webdriver.ActionChains(browser).double_click(browser.find_element(By.NAME, "_save")).perform()
    wait_for(lambda: "/change/" in browser.current_url)
    assert Order.objects.count() == 1
