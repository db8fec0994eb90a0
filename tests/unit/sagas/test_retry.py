from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sagas.core.retry import PATIENT, Retry


@given(
    attempts=st.integers(1, 60),
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 1000),
)
def test_a_pause_is_drawn_from_nothing_to_its_ceiling(attempts: int, base: float, cap: float) -> None:
    ceiling = min(cap, base * 2 ** (attempts - 1))
    pause = Retry(base_seconds=base, cap_seconds=cap).pause(attempts).total_seconds()
    assert 0 <= pause <= ceiling + 1e-6


def test_pauses_are_spread_over_the_whole_range() -> None:
    pauses = [Retry(base_seconds=10).pause(1).total_seconds() for _ in range(1000)]
    assert min(pauses) < 1
    assert max(pauses) > 9


def test_a_policy_may_allow_thousands_of_tries() -> None:
    assert Retry(attempts=10_000, cap_seconds=60).pause(9_999) <= timedelta(seconds=60)


def test_the_other_side_may_ask_for_a_time() -> None:
    assert Retry().pause(1, asked_seconds=17) == timedelta(seconds=17)


def test_patience_lasts_about_an_hour() -> None:
    ceilings = [min(PATIENT.cap_seconds, PATIENT.base_seconds * 2 ** (made - 1)) for made in range(1, PATIENT.attempts)]
    assert 50 * 60 < sum(ceilings) / 2 < 70 * 60


def test_tries_are_counted() -> None:
    retry = Retry(attempts=3)
    assert [retry.allows(made) for made in (1, 2, 3, 4)] == [True, True, False, False]
