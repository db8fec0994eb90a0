"""The boss's browser, runs and deliveries that need a person, and the form to act on them."""

import re
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from orders.models import Order
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Run, StepRun
from sagas.operations.subjects import of
from sagas.testing import MovableClock, drive
from tests.factories.journal import ParkedDeliveryFactory, StepRunFactory, StoppedRunFactory
from tests.factories.orders import Place
from tests.ticking import TickingClock

ADMIN = "/admin/sagas/intervention"
QUEUE, FORM = f"{ADMIN}/queue/", f"{ADMIN}/intervene/"


@pytest.fixture
def clock() -> MovableClock:
    """No two moments are the same."""
    return TickingClock()


def stop(run: Run, *, step: str = "confirm-order", error: str = "Broken", minutes: int = 0) -> Run:
    """Put a run in front of a person, as an engine that gave up at a step does."""
    row = run.steps.get(name=step)
    run.steps.filter(place__lt=row.place).exclude(status="skipped").update(status="done", finished_at=timezone.now())
    run.steps.filter(pk=row.pk).update(
        status="failed", attempts=12, started_at=timezone.now(), finished_at=timezone.now()
    )
    Run.objects.filter(pk=run.pk).update(
        status="needs_attention",
        resumes_as="running",
        stopped_at=timezone.now() - timedelta(minutes=minutes),
        place=row.place,
        due_at=None,
        attention={"step": step, "kind": "unexpected", "error": error, "message": "the printer burns"},
    )
    return Run.objects.get(pk=run.pk)


@pytest.fixture
def stuck(place: Place) -> Run:
    """A run that stopped behind its pivot; its stock is booked."""
    return stop_at(place, "confirm-order")


def stop_at(place: Place, step: str, **more: Any) -> Run:
    order = place()
    drive_until_started(order)
    return stop(Run.objects.get(key=order.id), step=step, **more)


def drive_until_started(order: Order) -> None:
    relay_events(now=timezone.now(), limit=500)
    assert Run.objects.filter(key=order.id).exists()


def drive_later() -> None:
    """Do what the messages that were sent would have done by now."""
    clock = MovableClock()
    clock.move(minutes=2)
    drive(now=clock)


def parked(order: Order, count: int = 1, error: str = "ChannelDown: no route") -> list[Delivery]:
    event = Event.objects.filter(key=str(order.id)).earliest("position")
    names = ["send-notification", *(f"other-{number}" for number in range(count - 1))]
    return [ParkedDeliveryFactory.create(event=event, subscription=name, error=error) for name in names]


def pick(subject: Run | Delivery) -> str:
    kind = "run" if isinstance(subject, Run) else "delivery"
    return f"{kind}:{subject.pk}@{of(subject).version_token}"


def typed(action: str, *subjects: Run | Delivery, **more: Any) -> dict[str, Any]:
    """Return the form as somebody sends it."""
    return {
        "action": action,
        "pick": [pick(subject) for subject in subjects],
        "count": len(subjects),
        "batch": str(uuid4()),
        "reason": "the printer is out",
        "back": QUEUE,
    } | more


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def sagas(*arguments: str) -> str:
    """Type `manage.py sagas`; return what it prints."""
    call_command("sagas", *arguments, stdout=(out := StringIO()))
    return out.getvalue()


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def named(run: Run) -> str:
    return f"order {Order.objects.get(id=run.key).number}"


def listed(response: Any) -> list[str]:
    return [row.summary.key for row in response.context["rows"]]


def send(client: Client, form: dict[str, Any]) -> Any:
    return client.post(FORM, form, follow=True)


def many(order: Order, count: int) -> None:
    """Add runs that stopped, one step before their end."""
    run = Run.objects.get(key=order.id)
    runs = StoppedRunFactory.build_batch(
        count, saga=run.saga, input=run.input, attention__step="notify-customer", attention__message="it burns"
    )
    Run.objects.bulk_create(runs)
    StepRun.objects.bulk_create(StepRunFactory.build(run=run, name="notify-customer", status="failed") for run in runs)
