"""Days and moments of the shop's zone, on both days on which its clocks change."""

from datetime import datetime, timedelta

import pytest
from pytest_django import Settings

from backoffice import moments


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("zone", "at", "day", "began", "hours"),
    [
        ("UTC", "2026-03-29T23:30", "2026-03-29", "2026-03-29T00:00", 24),
        # London: on 29 March 01:00 GMT becomes 02:00 BST.
        ("Europe/London", "2026-03-28T23:30", "2026-03-28", "2026-03-28T00:00", 24),
        ("Europe/London", "2026-03-29T22:59", "2026-03-29", "2026-03-29T00:00", 23),
        ("Europe/London", "2026-03-29T23:30", "2026-03-30", "2026-03-29T23:00", 24),
        # On 25 October 02:00 BST becomes 01:00 GMT.
        ("Europe/London", "2026-10-24T23:30", "2026-10-25", "2026-10-24T23:00", 25),
        ("Europe/London", "2026-10-25T01:30", "2026-10-25", "2026-10-24T23:00", 25),
        ("Europe/London", "2026-10-25T23:30", "2026-10-25", "2026-10-24T23:00", 25),
        ("Europe/London", "2026-10-26T00:00", "2026-10-26", "2026-10-26T00:00", 24),
        # Havana has its midnight of 1 November twice; Cairo has none on 24 April.
        ("America/Havana", "2026-11-01T05:30", "2026-11-01", "2026-11-01T04:00", 25),
        ("Africa/Cairo", "2026-04-23T22:00", "2026-04-24", "2026-04-23T22:00", 23),
    ],
)
def test_a_day_is_that_of_the_zone_and_begins_at_its_midnight(
    settings: Settings, zone: str, at: str, day: str, began: str, hours: int
) -> None:
    settings.TIME_ZONE = zone
    assert moments.day(utc(at)).isoformat() == day
    begin = moments.midnight(utc(at))
    assert begin == utc(began)
    assert moments.day(begin - timedelta(seconds=1)) < moments.day(begin) == moments.day(utc(at))
    end = moments.midnight(utc(began) + timedelta(hours=hours))
    assert end - begin == timedelta(hours=hours)


def test_a_moment_names_its_zone_so_that_the_hour_there_is_twice_is_told_apart(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/London"
    assert moments.moment(utc("2026-10-25T00:30")) == "2026-10-25 01:30:00 BST"
    assert moments.moment(utc("2026-10-25T01:30")) == "2026-10-25 01:30:00 GMT"
    settings.TIME_ZONE = "UTC"
    assert moments.moment(utc("2026-10-25T01:30")) == "2026-10-25 01:30:00 UTC"
