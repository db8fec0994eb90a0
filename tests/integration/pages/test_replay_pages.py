"""A range of time is replayed to one subscription: from its page in the admin, and from a terminal."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from sagas.messaging import tasks
from sagas.models import Delivery, Event, Follower, Intervention
from sagas.testing import MovableClock, drive
from tests.factories.orders import Place
from tests.factories.people import allowed

from .conftest import page, sagas

LIST, FORM = "/admin/sagas/follower/", "/admin/sagas/intervention/intervene/"
NAME = "send-notification"


@pytest.fixture
def sent(place: Place) -> datetime:
    """Two orders came through, their messages left; return when that began, a minute ago."""
    for _ in range(2):
        place()
    drive()
    minute = timedelta(minutes=1)
    Event.objects.update(occurred_at=F("occurred_at") - minute)
    Delivery.objects.update(finished_at=F("finished_at") - minute)
    began = Event.objects.order_by("occurred_at").values_list("occurred_at", flat=True)[0]
    assert Delivery.objects.filter(subscription=NAME, status="done").count() == 2
    return began


def typed(since: datetime, until: datetime, **more: Any) -> dict[str, Any]:
    moments = {name: f"{moment:%Y-%m-%dT%H:%M:%S}" for name, moment in {"since": since, "until": until}.items()}
    return {
        "action": "replay",
        "pick": f"follower:{NAME}@following",
        "batch": "01890000-0000-7000-8000-000000000001",
        "reason": "they lost a day",
        "count": "1",
        **moments,
        **more,
    }


def test_a_range_is_replayed_by_a_button_and_its_page_says_how_far_it_is(boss: Client, sent: datetime) -> None:
    shown = page(boss, f"{LIST}{NAME}/change/")
    assert "Replay…" in shown
    form = page(boss, f"{FORM}?action=replay&pick=follower:{NAME}@following")
    assert "its reaction is made again" in form
    assert 'name="since"' in form
    answer = boss.post(FORM, typed(sent - timedelta(seconds=5), timezone.now()))
    assert answer.status_code == 302
    assert "/batch/" in answer["Location"]
    shown = page(boss, answer["Location"])
    assert "Replay: 0 of 2" in shown
    tasks.work_on_interventions()
    shown = page(boss, answer["Location"])
    assert "Replay: 2 of 2 events are owed once more." in shown
    drive()
    asked = Intervention.objects.get()
    assert (asked.by, asked.reason, asked.status, asked.action) == ("boss", "they lost a day", "done", "replay")
    assert set(Delivery.objects.values_list("subscription", "replays")) == {(NAME, 1)}
    assert "2 of 2 events done" in page(boss, f"/admin/sagas/intervention/{asked.pk}/change/")
    # The form sent twice asks once.
    boss.post(FORM, typed(sent - timedelta(seconds=5), timezone.now()))
    assert Intervention.objects.count() == 1


def test_a_range_is_offered_and_typed_in_the_zone_of_the_shop(boss: Client, sent: datetime, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Kathmandu"
    form = page(boss, f"{FORM}?action=replay&pick=follower:{NAME}@following")
    assert "From (Asia/Kathmandu)" in form
    now = timezone.localtime()
    assert any(f'value="{now - timedelta(minutes=late):%Y-%m-%dT%H:%M}' in form for late in (0, 1))
    since = timezone.localtime(sent - timedelta(seconds=5)).replace(microsecond=0)
    answer = boss.post(FORM, typed(since, now))
    assert answer.status_code == 302
    asked = Intervention.objects.get()
    assert asked.replay is not None
    assert datetime.fromisoformat(asked.replay["since"]) == since
    assert f"{since.day} {since:%b %Y, %H:%M:%S} +0545" in page(boss, answer["Location"])


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (timedelta(hours=-1), timedelta(hours=-2), "before it begins"),
        (timedelta(hours=-1), timedelta(hours=2), "ends in the future"),
        (timedelta(hours=-3), timedelta(hours=-2), "There is no event for send-notification"),
    ],
)
def test_a_form_that_makes_no_sense_says_so_and_keeps_what_was_typed(
    boss: Client, sent: datetime, since: timedelta, until: timedelta, said: str
) -> None:
    now = timezone.now()
    answer = boss.post(FORM, typed(now + since, now + until))
    assert answer.status_code == 400
    shown = answer.content.decode()
    assert said in shown
    assert f'value="{now + since:%Y-%m-%dT%H:%M}' in shown
    assert not Intervention.objects.exists()


def test_a_moment_that_is_none_is_told_beside_its_field(boss: Client, sent: datetime) -> None:
    answer = boss.post(FORM, typed(sent, timezone.now()) | {"since": "yesterday"})
    assert "Enter a valid date/time" in answer.content.decode()
    answer = boss.post(FORM, typed(sent, timezone.now()) | {"since": ""})
    assert "This field is required." in answer.content.decode()
    assert not Intervention.objects.exists()


def test_who_may_only_look_cannot_replay(sent: datetime) -> None:
    client = allowed("sagas.view_follower")
    assert "Replay…" not in page(client, f"{LIST}{NAME}/change/")
    assert client.post(FORM, typed(sent, timezone.now())).status_code == 403
    assert not Intervention.objects.exists()


def test_what_starts_runs_offers_no_replay(boss: Client, sent: datetime) -> None:
    assert "Replay…" not in page(boss, f"{LIST}start-fulfil-order/change/")
    answer = boss.post(FORM, typed(sent, timezone.now(), pick="follower:start-fulfil-order@following"))
    assert "Replay does not apply now" in answer.content.decode()
    assert not Intervention.objects.exists()


def test_a_terminal_replays_and_tells_how_many(sent: datetime) -> None:
    said = sagas("replay", "--subscription", NAME, "--since", sent.isoformat(), "--reason", "they lost a day")
    assert said == "2 of 2 events are owed once more.\n"
    later = MovableClock()
    later.move(minutes=1)
    drive(now=later)
    assert Delivery.objects.filter(subscription=NAME, status="done", replays=1).count() == 2
    asked = Intervention.objects.get()
    assert asked.replay is not None
    assert (asked.subject_id, asked.replay["since"]) == (NAME, sent.isoformat())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "2026-01-31T14:00", "--reason", "x"), r"--since has no time zone: '2026-01-31T14:00'"),
        (("--since", "yesterday", "--reason", "x"), r"--since is no moment: 'yesterday'"),
        (("--since", "2026-01-31T14:00Z", "--until", "2026-01-30T14:00Z", "--reason", "x"), r"before it begins"),
        (("--since", "2026-01-31T14:00Z", "--until", "2999-01-30T14:00Z", "--reason", "x"), r"ends in the future"),
        (("--since", "2020-01-31T14:00Z", "--until", "2020-02-01T14:00Z", "--reason", "x"), r"There is no event for"),
        (("--since", "2020-01-31T14:00Z"), r"A reason is needed"),
    ],
)
def test_a_terminal_refuses_what_makes_no_sense(sent: datetime, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        sagas("replay", "--subscription", NAME, *arguments)
    with pytest.raises(CommandError, match="There is no follower 'nobody'"):
        sagas("replay", "--subscription", "nobody", "--since", "2020-01-31T14:00Z", "--reason", "x")
    assert not Intervention.objects.exists()


def test_a_terminal_whose_receiver_has_enough_to_do_leaves_it_to_the_sweep(
    sent: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagas.operations.replays.is_busy", lambda *_: True)
    monkeypatch.setattr("sagas.cli.operate._WATCH_SECONDS", 0.3)
    said = sagas("replay", "--subscription", NAME, "--since", sent.isoformat(), "--reason", "they lost a day")
    assert said == "0 of 2 events; send-notification has enough to do, the sweep goes on as it gets on.\n"
    assert Intervention.objects.get().status == "pending"
    monkeypatch.undo()
    tasks.work_on_interventions()  # as the sweep does
    assert Intervention.objects.get().status == "done"
    assert Follower.objects.get(name=NAME).status == "following"
