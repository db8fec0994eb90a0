"""An empty cache."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache


@pytest.fixture
def nothing_is_cached() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()
