"""An intervention names what it was done to: the order where that is meant, otherwise the step or the subscription."""

from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from orders.models import Order
from sagas.core import registry
from sagas.core.key_names import KeyNames
from sagas.core.statuses import Action
from sagas.log.relay import relay_events
from sagas.models import Intervention, Run
from sagas.operations import interventions, subjects
from tests.factories.orders import Place

FORM = "/admin/sagas/intervention/intervene/"


@pytest.fixture
def order(place: Place) -> Order:
    """An order whose run has begun no step."""
    order = place()
    relay_events(now=timezone.now(), limit=500)
    return order


def paused(run: Run) -> Run:
    interventions.ask([run], Action.PAUSE, reason="why", by="ada", now=timezone.now())
    assert interventions.work(now=timezone.now()).done == 1
    run.refresh_from_db()
    return run


def form_of(client: Client, action: str, run: Run) -> Any:
    return client.get(FORM, {"action": action, "pick": f"run:{run.pk}@{subjects.of(run).version_token}"})


@pytest.mark.parametrize(
    ("action", "title", "said"),
    [
        ("undo", "Undo order NUMBER", "Done: order NUMBER is being undone."),
        ("cancel", "Cancel order NUMBER", "Done: order NUMBER is being cancelled."),
        ("pause", "Pause order NUMBER", "Done: order NUMBER is paused."),
        ("resume", "Resume order NUMBER", "Done: order NUMBER goes on."),
        ("skip", "Skip “reserve-stock” of order NUMBER", "Done: “reserve-stock” of order NUMBER is taken as done."),
    ],
)
def test_the_form_and_the_message_after_it_name_the_order(
    boss: Client, order: Order, action: str, title: str, said: str
) -> None:
    run = Run.objects.get()
    run = paused(run) if action in ("resume", "skip") else run
    form = form_of(boss, action, run)
    assert form.context["title"] == title.replace("NUMBER", order.number)
    typed = {"reason": "why", "batch": str(uuid4())} | dict(form.context["hidden"])
    sent = boss.post(FORM, typed, follow=True)
    assert [str(message) for message in sent.context["messages"]] == [said.replace("NUMBER", order.number)]


def test_the_command_names_the_order(order: Order) -> None:
    call_command("sagas", "cancel", order.number, "--reason", "why", stdout=(out := StringIO()))
    assert out.getvalue() == f"Done: order {order.number} is being cancelled. It is undoing now.\n"


def test_without_names_of_keys_the_saga_and_the_key_are_named(boss: Client, order: Order) -> None:
    nameless = registry.current().rewired(registry.subscriptions())
    nameless.register(key_names=KeyNames())
    with nameless.active():
        form = form_of(boss, "cancel", Run.objects.get())
    assert form.context["title"] == f"Cancel fulfil-order of {order.id}"
    assert form.context["means"] == [("", "Cancel it, and undo what was done so far.")]


def test_what_an_action_means_for_the_customer_is_said_by_the_project(boss: Client, order: Order) -> None:
    form = form_of(boss, "cancel", Run.objects.get())
    said = "Cancel it, and undo what was done so far. The customer reads the reason."
    assert form.context["means"] == [("", said)]
    assert not Intervention.objects.exists()
