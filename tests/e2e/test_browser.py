"""The admin as its user sees it: Chromium against a live server, with real workers behind it."""

from contextlib import ExitStack
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from orders.models import Order, OrderLine
from tests.conftest import Processes, wait_for

from .conftest import Browser, errors, text, window


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
    wait_for(lambda: "100 left" in text(browser, ".shop-hint-bad")())
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
    # Nothing is under way any more: it only looks whether the books balance, for a minute.
    wait_for(lambda: browser.execute_script("return document.querySelector('.shop-story').dataset.pollMs") == "5000")
    assert "not passed on yet" not in text(browser, ".shop-timeline")()
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


def test_an_error_while_a_page_is_left_counts_for_its_test_and_not_for_the_next(
    chromium: Browser, live_server: Any
) -> None:
    with ExitStack() as stack:
        stack.enter_context(window(chromium))
        chromium.get(f"{live_server.url}/admin/login/")
        chromium.execute_script("addEventListener('pagehide', () => console.error('too late'))")
        with pytest.raises(AssertionError, match="too late"):
            stack.close()
    assert errors(chromium) == []
