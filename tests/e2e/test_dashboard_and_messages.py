"""In a browser: the figures of the day keep up by themselves, and a message runs nothing on its page."""

from pathlib import Path
from typing import Any

from pytest_django import Settings
from selenium.webdriver.common.by import By

from notifications.models import Notification
from sagas.testing import drive
from tests.conftest import wait_for
from tests.factories.orders import Place

from .conftest import Browser, text


def test_the_figures_of_the_day_keep_up_by_themselves_and_name_the_day(
    browser: Browser, live_server: Any, place: Place, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Kathmandu"
    browser.get(f"{live_server.url}/admin/")
    browser.execute_script("window.samePage = true")
    figures = text(browser, "[data-refresh]")
    assert "Asia/Kathmandu: as of " in figures()
    place()
    wait_for(lambda: "1\npending today" in figures())
    assert browser.execute_script("return window.samePage")


def test_the_html_of_a_message_is_shown_in_a_frame_that_runs_no_script(
    browser: Browser, live_server: Any, place: Place, settings: Settings, tmp_path: Path
) -> None:
    place()
    drive()
    (tmp_path / "notifications").mkdir()
    script = "<script>document.body.textContent = parent.document.title = 'taken over'</script>"
    (tmp_path / "notifications/order_confirmed.html").write_text(f"<body><p>Hello {{{{ name }}}}</p>{script}</body>")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    browser.get(f"{live_server.url}/admin/notifications/notification/{Notification.objects.get().pk}/change/")
    browser.switch_to.frame(browser.find_element(By.CSS_SELECTOR, "iframe[sandbox]"))
    wait_for(lambda: text(browser, "p")() == "Hello Ada Lovelace")
    browser.switch_to.default_content()
    assert "taken over" not in browser.title
