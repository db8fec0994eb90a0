"""`manage.py sagas`: the work queue from a terminal, with a reason, a question before many, and an honest exit code."""

import io
import json
import os
import pty
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from orders.models import Order
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Intervention, Run
from sagas.testing import drive
from tests.factories.journal import ParkedDeliveryFactory
from tests.factories.orders import Place

from .conftest import drive_later, sagas


def refused(*arguments: str) -> str:
    """Return what is said where the command ends with 1."""
    out = StringIO()
    with pytest.raises((CommandError, SystemExit)) as ended:
        call_command("sagas", *arguments, stdout=out)
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 1
        return out.getvalue()
    return str(ended.value)


@pytest.fixture
def running(place: Place) -> Order:
    """An order whose run has begun no step."""
    order = place()
    relay_events(now=timezone.now(), limit=500)
    return order


def run_of(order: Order) -> Run:
    return Run.objects.get(key=order.id)


def stop(order: Order, step: str = "confirm-order", error: str = "Broken") -> Run:
    run = run_of(order)
    row = run.steps.get(name=step)
    run.steps.filter(place__lt=row.place).exclude(status="skipped").update(status="done")
    run.steps.filter(pk=row.pk).update(status="failed", attempts=3)
    Run.objects.filter(pk=run.pk).update(
        status="needs_attention",
        resumes_as="running",
        stopped_at=timezone.now() - timedelta(hours=1),
        place=row.place,
        due_at=None,
        attention={"step": step, "kind": "unexpected", "error": error, "message": "the printer burns"},
    )
    return run_of(order)


def park(order: Order) -> Delivery:
    event = Event.objects.filter(key=str(order.id)).earliest("position")
    return ParkedDeliveryFactory.create(event=event, subscription="send-notification")


WHY = ("--reason", "the printer is out", "--by", "ada")


def test_the_queue_shows_what_needs_a_person(running: Order) -> None:
    assert sagas("queue") == "Nothing needs a person.\n"
    run, delivery = stop(running), park(running)
    shown = sagas("queue")
    assert f"Order {running.number}: fulfil-order at confirm-order ({run.pk})\n    Broken: the printer burns" in shown
    assert f"Order {running.number}: send-notification (delivery {delivery.pk})\n    ChannelDown: no route" in shown
    assert "unexpected, 3 tries, since " in shown
    told = json.loads(sagas("queue", "--json"))
    by_kind = {each["kind"]: each for each in told}
    assert by_kind["run"]["id"] == str(run.pk)
    assert by_kind["run"]["actions"] == ["retry", "skip"]
    assert by_kind["delivery"]["key"] == str(running.id)
    assert by_kind["delivery"]["called"] == f"Order {running.number}"


@pytest.mark.parametrize("name", ["number", "id", "run"])
def test_a_run_is_meant_by_its_number_key_or_id(running: Order, name: str) -> None:
    run = stop(running)
    meant = {"number": running.number.lower(), "id": str(running.id), "run": str(run.pk)}[name]
    assert (
        sagas("retry", meant, *WHY)
        == f"Done: “confirm-order” of order {running.number} is tried again. It is running now.\n"
    )
    assert sagas("show", meant).startswith(f"fulfil-order of Order {running.number}: running")
    drive_later()
    running.refresh_from_db()
    assert running.status == "confirmed"
    asked = Intervention.objects.get()
    assert (asked.by, asked.reason, asked.action) == ("ada", "the printer is out", "retry")


def test_a_step_is_skipped_with_its_result(running: Order) -> None:
    run = stop(running, "book-shipment")
    sagas("skip", running.number, *WHY, "--result", '{"tracking_number": "PX1"}')
    drive_later()
    run.refresh_from_db()
    assert (run.status, run.results["book-shipment"]) == ("completed", {"tracking_number": "PX1"})
    shown = sagas("show", running.number).splitlines()
    (at,) = (number for number, line in enumerate(shown) if "book-shipment" in line and "by hand" in line)
    assert shown[at + 1].strip() == "taken as done by ada: the printer is out"


def test_an_order_is_cancelled(running: Order) -> None:
    sagas("cancel", running.number, *WHY)
    drive_later()
    running.refresh_from_db()
    assert (running.status, running.reason) == ("cancelled", "the printer is out")


def test_an_order_is_undone(running: Order) -> None:
    sagas("undo", running.number, *WHY)
    drive_later()
    running.refresh_from_db()
    assert running.status == "rejected"


def test_a_run_is_paused_and_resumed(running: Order) -> None:
    sagas("pause", running.number, *WHY)
    drive_later()
    assert run_of(running).status == "paused"
    sagas("resume", running.number, *WHY)
    drive_later()
    assert run_of(running).status == "completed"


def test_who_types_it_is_noted_unless_told_otherwise(running: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    sagas("pause", running.number, "--reason", "x")
    assert Intervention.objects.get().by == "grace"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("retry", "S1", *WHY), "There is no run 'S1'; `manage.py sagas list` shows some."),
        (("retry", "--delivery", "7", *WHY), "There is no delivery '7'; `manage.py sagas queue` shows some."),
        (("retry", "NUMBER"), "A reason is needed"),
        (("retry", "NUMBER", "--reason", " "), "A reason is needed"),
        (("resume", "NUMBER", *WHY), "resume does not apply: the run is running. What does: undo, cancel, pause."),
        (("retry", *WHY), "Say what to retry: one RUN, or --all with filters, --delivery or --parked."),
        (("cancel", *WHY), "Say what to cancel: one RUN, or --all with filters."),
        (("retry", "NUMBER", "--all", "--step", "x", *WHY), "Say what to retry"),
        (("retry", "NUMBER", "--step", "x", *WHY), "narrow --all"),
        (("retry", "--all", *WHY), "--all needs one of --status, --saga, --step, --error"),
        (("retry", "--parked", "send-notificatoin", *WHY), "No subscription is called 'send-notificatoin'"),
        (("skip", "NUMBER", "--result", "[1]", *WHY), "The result is a JSON object"),
        (("explode", "NUMBER"), "invalid choice"),
        (("retry", "--all", "--status", "completed", *WHY), "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_done(
    running: Order, arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused(*[running.number if word == "NUMBER" else word for word in arguments])
    assert not Intervention.objects.exists()


def test_an_ended_run_offers_nothing(place: Place) -> None:
    order = place()
    drive()
    assert refused("pause", order.number, *WHY) == "pause does not apply: the run is completed."


def test_a_refusal_says_how_the_run_stands(running: Order) -> None:
    failure = {"step": "capture-payment", "kind": "retryable", "error": "Busy", "message": ""}
    Run.objects.update(failure=failure)
    assert refused("pause", running.number, *WHY) == "pause does not apply: the run is about to be undone."
    Run.objects.update(failure=None)
    stop(running)
    assert "pause does not apply: the run needs attention. What does:" in refused("pause", running.number, *WHY)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (("--status", "needs_attention"), 3),
        (("--step", "confirm-order"), 2),
        (("--error", "Late"), 1),
        (("--saga", "fulfil-order", "--error", "Broken"), 2),
        (("--error", "Nothing"), 0),
    ],
)
def test_all_that_match_are_retried(place: Place, filters: tuple[str, ...], count: int) -> None:
    orders = [place() for _ in range(3)]
    relay_events(now=timezone.now(), limit=500)
    stop(orders[0])
    stop(orders[1])
    stop(orders[2], "capture-payment", "Late")
    said = sagas("retry", "--all", *filters, "--yes", *WHY)
    assert f"{count} done, 0 refused." in said if count else "Nothing matches; nothing was done." in said
    assert Run.objects.filter(status="running").count() == count


def test_what_is_refused_of_many_is_counted_with_its_reason_and_the_exit_is_1(place: Place) -> None:
    orders = [place() for _ in range(3)]
    relay_events(now=timezone.now(), limit=500)
    stop(orders[0])
    stop(orders[1])
    stop(orders[2], "capture-payment")
    said = refused("cancel", "--all", "--status", "needs_attention", "--yes", *WHY)
    assert "1 done, 2 refused." in said
    assert "2  cancel does not apply: the run needs attention at confirm-order." in said


def test_without_a_terminal_many_are_not_touched_unless_yes_is_said(
    running: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(running)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "add --yes" in refused("retry", "--all", "--status", "needs_attention", *WHY)
    assert not Intervention.objects.exists()


@pytest.mark.parametrize(("answer", "done"), [("y", 1), ("yes", 1), ("n", 0), ("", 0)])
def test_in_a_terminal_many_are_asked_about(
    running: Order, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, done: int
) -> None:
    stop(running)
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        asked = ("retry", "--all", "--status", "needs_attention", *WHY)
        said = sagas(*asked) if done else refused(*asked)
    os.close(keyboard)
    assert "retry 1? [y/N]" in capsys.readouterr().out
    assert said == "Nothing was done." if not done else "1 done, 0 refused." in said
    assert Intervention.objects.count() == done


def test_parked_deliveries_are_retried_and_skipped(place: Place) -> None:
    first, second = place(), place()
    relay_events(now=timezone.now(), limit=500)
    one, other = park(first), park(second)
    said = sagas("skip", "--delivery", str(one.pk), *WHY)
    assert f"Done: “send-notification” of order {first.number} is left out." in said
    said = sagas("retry", "--parked", "send-notification", "--error", "ChannelDown", "--yes", *WHY)
    assert "1 done, 0 refused." in said
    assert [Delivery.objects.get(pk=each.pk).status for each in (one, other)] == ["skipped", "pending"]
    assert refused("retry", "--delivery", str(one.pk), *WHY) == "retry does not apply: the delivery is skipped."
