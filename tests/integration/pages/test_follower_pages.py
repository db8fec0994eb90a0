"""Who follows the log is shown, paused and resumed with a reason: in the admin and in a terminal."""

import json
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone

from sagas.core import registry
from sagas.log.relay import relay_events
from sagas.models import Follower, Intervention, Run
from sagas.testing import drive
from tests.factories.orders import Place
from tests.factories.people import allowed

from .conftest import page, sagas

LIST, FORM = "/admin/sagas/follower/", "/admin/sagas/intervention/intervene/"
NAMES = ["send-notification", "start-fulfil-order"]


def typed(action: str, name: str, seen: str, **more: Any) -> dict[str, Any]:
    shown = {"batch": "01890000-0000-7000-8000-000000000001", "reason": "they move house", "count": "1"}
    return {"action": action, "pick": f"follower:{name}@{seen}", **shown, **more}


def test_the_list_says_how_far_each_is_behind(boss: Client, place: Place) -> None:
    place()
    drive()
    place()
    relay_events(now=timezone.now(), limit=500)
    Follower.objects.filter(name="send-notification").update(position=0)
    shown = page(boss, LIST)
    assert all(name in shown for name in NAMES)
    assert "catching up" in shown
    (row,) = [row for row in shown.split("<tr") if "send-notification" in row and "catching up" in row]
    assert ">8<" in "".join(row.split())


def test_a_subscription_is_paused_and_resumed_by_buttons(boss: Client, place: Place) -> None:
    place()
    drive()
    detail = page(boss, f"{LIST}start-fulfil-order/change/")
    assert "Pause…" in detail
    assert "Resume…" not in detail
    asked = boss.get(FORM, {"action": "pause", "pick": "follower:start-fulfil-order@following"}).content.decode()
    assert "Pause “start-fulfil-order”" in asked
    assert "The log keeps it all." in asked

    assert boss.post(FORM, typed("pause", "start-fulfil-order", "following")).status_code == 302
    drive()
    order = place()
    drive()
    assert not Run.objects.filter(key=order.id).exists()
    assert "paused" in page(boss, LIST)
    (done,) = Intervention.objects.all()
    assert (done.subject_id, done.by, done.reason, done.status) == (
        "start-fulfil-order",
        "boss",
        "they move house",
        "done",
    )
    assert "start-fulfil-order" in page(boss, "/admin/sagas/intervention/")

    form = typed("resume", "start-fulfil-order", "paused", batch="01890000-0000-7000-8000-000000000002")
    assert boss.post(FORM, form).status_code == 302
    drive()
    assert Run.objects.get(key=order.id).status == "completed"


def test_who_may_only_look_has_no_buttons_and_is_refused(place: Place) -> None:
    place()
    drive()
    client = allowed("sagas.view_follower")
    assert "Pause…" not in page(client, f"{LIST}send-notification/change/")
    assert client.post(FORM, typed("pause", "send-notification", "following")).status_code == 403
    assert Follower.objects.get(name="send-notification").paused_at is None


def test_a_terminal_shows_them_and_pauses_one(place: Place) -> None:
    place()
    drive()
    shown = [line.split() for line in sagas("followers").splitlines()]
    assert [line for line in shown if line[0] in NAMES] == [[name, "following", "nothing", "waits"] for name in NAMES]
    assert {line[0] for line in shown} - set(NAMES) == {model.name for model in registry.read_models()}
    said = sagas("pause", "--subscription", "send-notification", "--reason", "the mail server moves", "--by", "ada")
    assert said == "Done: “send-notification” is paused.\n"
    told = {each["name"]: each for each in json.loads(sagas("followers", "--json"))}
    assert told["send-notification"]["paused_at"] is not None
    with pytest.raises(CommandError, match=r"the follower is paused\. What does: resume"):
        sagas("pause", "--subscription", "send-notification", "--reason", "again")
    with pytest.raises(CommandError, match="There is no follower 'nobody'"):
        sagas("pause", "--subscription", "nobody", "--reason", "why not")
    with pytest.raises(CommandError, match="one RUN, or --all with filters, or --subscription"):
        sagas("pause", "--reason", "what")
