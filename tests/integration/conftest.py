"""The browser of a superuser."""

import pytest
from django.test import Client

from tests.factories.people import browser_of_the_boss


@pytest.fixture
def boss(shelves: None) -> Client:
    return browser_of_the_boss()
