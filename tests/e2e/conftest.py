"""A browser, for tests that see the admin as its user does."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.factories.people import browser_of_the_boss

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
)
WINDOW = 1280, 1000

Browser = webdriver.Chrome


@pytest.fixture(scope="session")
def chromium(live_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a process: it takes a second to start.

    It quits before the server stops and the database is dropped: its open connections keep threads of the server.
    """
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield chromium
    chromium.quit()


@pytest.fixture
def browser(live_server: Any, shelves: None, chromium: Browser) -> Iterator[Browser]:
    """A new window; a superuser is logged in."""
    with window(chromium):
        chromium.get(f"{live_server.url}/admin/login/")
        chromium.execute_script("localStorage.clear(); sessionStorage.clear()")
        chromium.delete_all_cookies()
        client = browser_of_the_boss()
        chromium.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value})
        yield chromium


@contextmanager
def window(chromium: Browser) -> Iterator[None]:
    """Open a window and close it; nothing may have gone wrong on its pages, up to the end."""
    blank = chromium.current_window_handle
    chromium.switch_to.new_window("window")
    try:
        chromium.set_window_size(*WINDOW)
        yield
    finally:
        chromium.close()
        chromium.switch_to.window(blank)
        said = errors(chromium)  # leaves none for the next test
    assert said == []


def errors(browser: Any) -> list[str]:
    """Return what went wrong on the pages since the last call, by the browser's console."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def text(browser: Browser, selector: str) -> Callable[[], str]:
    return lambda: str(browser.execute_script(f"return document.querySelector('{selector}')?.innerText ?? ''"))
