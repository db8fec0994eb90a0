from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from sagas.engine.limits import resend_after


@pytest.mark.parametrize(
    ("resends", "seconds"),
    [(0, 20), (1, 40), (2, 80), (3, 160), (4, 320), (5, 600), (6, 600), (10, 600), (11, 600), (32767, 600)],
)
def test_a_message_is_sent_again_ever_more_rarely_and_at_least_every_ten_minutes(
    settings: Settings, resends: int, seconds: float
) -> None:
    settings.SAGAS_RESEND_AFTER_SECONDS = 20.0
    assert resend_after(resends) == timedelta(seconds=seconds)


def test_short_pauses_double_ten_times_at_most(settings: Settings) -> None:
    settings.SAGAS_RESEND_AFTER_SECONDS = 0.1
    assert resend_after(10) == resend_after(99) == timedelta(seconds=102.4)


@given(resends=st.integers(0, 32767))
def test_a_pause_is_never_shorter_than_the_one_before(resends: int) -> None:
    assert timedelta() < resend_after(resends) <= resend_after(resends + 1) <= timedelta(minutes=10)
