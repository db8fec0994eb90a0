"""The order form in a browser: what it shows is what is ordered, and nothing that was typed is lost."""

from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from inventory import services as inventory
from orders import services as orders
from orders.models import Order, OrderLine, Product
from tests.conftest import wait_for

from .conftest import Browser, text
from .test_browser import choose, fill_in

TOTAL, NOTE = "#shop-total-amount", "#shop-total-note"


def value(browser: Browser, name: str) -> str:
    return str(browser.find_element(By.NAME, name).get_attribute("value"))


def chosen(browser: Browser) -> list[tuple[str, str]]:
    """Return the products and quantities of the lines that have a product, as they are shown."""
    script = """return [...document.querySelectorAll("select[name^='lines-'][name$='-product']")]
        .filter(select => !select.name.includes('__prefix__') && select.value)
        .map(select => [select.selectedOptions[0].text,
                        document.getElementsByName(select.name.replace('product', 'quantity'))[0].value])"""
    return [(product, quantity) for product, quantity in browser.execute_script(script)]


def save(browser: Browser) -> None:
    browser.find_element(By.NAME, "_save").click()


def test_a_total_has_the_decimals_of_its_currency(browser: Browser, live_server: Any) -> None:
    orders.add_products([("FAN", "Fan", 1500), ("KITE", "Kite", 800)], currency="JPY")
    inventory.receive({"FAN": 10, "KITE": 10})
    fill_in(browser, live_server.url, "tok_visa")
    choose(browser, 0, "FAN Fan", 2)
    wait_for(lambda: text(browser, TOTAL)() == "3,000 JPY")
    assert "1,500 JPY each" in text(browser, ".shop-hint")()
    choose(browser, 1, "MUG Mug", 1)
    wait_for(lambda: text(browser, NOTE)() == "One order needs one currency, not GBP and JPY.")
    assert (text(browser, TOTAL)(), value(browser, "shown_total")) == ("-", "")
    assert Order.objects.count() == 0


def test_a_price_that_changed_while_the_page_was_open_is_said_and_then_accepted(
    browser: Browser, live_server: Any
) -> None:
    fill_in(browser, live_server.url, "tok_visa")
    choose(browser, 0, "MUG Mug", 2)
    wait_for(lambda: text(browser, TOTAL)() == "£20.00")
    Product.objects.filter(sku="MUG").update(price_minor=1795)
    save(browser)
    said = "The total is £35.90 now, not £20.00. A price was changed while this page was open."
    wait_for(lambda: said in text(browser, "body")())
    assert Order.objects.count() == 0
    assert chosen(browser) == [("MUG Mug", "2")]
    wait_for(lambda: text(browser, TOTAL)() == "£35.90")
    save(browser)
    wait_for(lambda: "/change/" in browser.current_url)
    assert Order.objects.get().total_minor == 3590


def test_the_form_has_its_products_again_after_back(browser: Browser, live_server: Any) -> None:
    fill_in(browser, live_server.url, "invoice")
    choose(browser, 0, "MUG Mug", 2)
    choose(browser, 1, "LAMP Lamp", 3)
    choose(browser, 2, "TRAY Tray", 4)
    browser.find_element(By.CSS_SELECTOR, ".add-row").click()
    choose(browser, 3, "MUG Mug", 7)
    wait_for(lambda: text(browser, TOTAL)() == "£340.00")
    lines = [("MUG Mug", "2"), ("LAMP Lamp", "3"), ("TRAY Tray", "4"), ("MUG Mug", "7")]
    browser.get(f"{live_server.url}/admin/orders/order/")
    browser.back()
    wait_for(lambda: chosen(browser) == lines, why=lambda: str(chosen(browser)))
    wait_for(lambda: text(browser, TOTAL)() == "£340.00")
    assert value(browser, "customer_name") == "Ada Lovelace"
    assert value(browser, "customer_email") == "ada@example.com"
    assert Select(browser.find_element(By.NAME, "payment_method")).first_selected_option.get_attribute("value") == (
        "invoice"
    )
    save(browser)
    wait_for(lambda: "/change/" in browser.current_url)
    assert set(OrderLine.objects.values_list("sku", "quantity")) == {("MUG", 9), ("LAMP", 3), ("TRAY", 4)}


def test_a_form_that_was_left_by_placing_an_order_places_another_one_after_back(
    browser: Browser, live_server: Any
) -> None:
    fill_in(browser, live_server.url, "tok_visa")
    choose(browser, 0, "MUG Mug", 1)
    wait_for(lambda: text(browser, TOTAL)() == "£10.00")
    save(browser)
    wait_for(lambda: "/change/" in browser.current_url)
    browser.back()
    wait_for(lambda: chosen(browser) == [("MUG Mug", "1")])
    wait_for(lambda: text(browser, TOTAL)() == "£10.00")
    save(browser)
    wait_for(lambda: "/change/" in browser.current_url)
    assert Order.objects.count() == 2
