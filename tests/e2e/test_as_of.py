"""An order as of a moment, in a browser: by keyboard, on a narrow screen, without JavaScript of our own."""

import functools
from datetime import timedelta
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from orders import services as orders
from sagas.testing import drive
from tests.conftest import wait_for
from tests.ticking import TickingClock

from .conftest import Browser, text


def is_shown(browser: Browser, told: str) -> bool:
    return told in text(browser, ".shop-shown")()


@pytest.mark.parametrize("width", [1280, 400])
def test_somebody_walks_through_the_moments_of_an_order_by_keyboard(
    browser: Browser, live_server: Any, width: int
) -> None:
    clock = TickingClock(tick=timedelta(milliseconds=30))
    clock.move(hours=-1)
    order = orders.place(
        customer_email="ada@example.com",
        customer_name="Ada Lovelace",
        payment_method="tok_chargeDeclined",
        lines=[orders.LineRequest(sku="MUG", quantity=2)],
        now=clock(),
    )
    drive(now=clock)
    narrow = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 640}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    browser.get(f"{live_server.url}/admin/orders/order/{order.pk}/change/")
    browser.find_element(By.LINK_TEXT, "As of any moment").send_keys(Keys.ENTER)
    pill = text(browser, ".shop-pill")
    wait_for(lambda: "/as-of/" in browser.current_url and pill() == "Rejected")

    for told in ("Notification queued", "Order rejected", "Stock released"):
        browser.find_element(By.CSS_SELECTOR, "a[rel=prev]").send_keys(Keys.ENTER)
        wait_for(functools.partial(is_shown, browser, told))
    assert pill() == "Pending"
    assert "2 held\t2 released" in text(browser, ".shop-changes tbody")()

    browser.find_elements(By.PARTIAL_LINK_TEXT, "Compare with this")[0].send_keys(Keys.ENTER)
    wait_for(lambda: "declined" in text(browser, ".shop-changes tbody")())
    # Sent again as the browser has it, the form asks for the same.
    shown = text(browser, "main")()
    browser.find_element(By.CSS_SELECTOR, ".shop-asked-for button").send_keys(Keys.ENTER)
    wait_for(lambda: "since=" in browser.current_url and "Z" not in browser.current_url)
    assert text(browser, ".shop-changes tbody")() in shown
    assert text(browser, ".shop-hint-bad")() == ""
    too_wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(too_wide) == 0
