"""Rows of the engine as a test needs them: events, runs, steps, deliveries, followers, interventions, findings.

What relay and workers make in a moment is better made by them: `place()` and `drive()`.
"""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone
from factory.declarations import Dict, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from sagas.core.statuses import DeliveryStatus, RunStatus, StepStatus
from sagas.models import Delivery, Event, Finding, Follower, Intervention, Run, StepRun


class EventFactory(DjangoModelFactory[Event]):
    class Meta:
        model = Event

    type = "tests.nothing"
    aggregate = "test"
    subject = Sequence(lambda number: f"subject-{number}")
    sequence = 1
    key = SelfAttribute("subject")
    data = LazyFunction(dict[str, Any])
    correlation_id = LazyFunction(uuid4)
    occurred_at = LazyFunction(timezone.now)


class RunFactory(DjangoModelFactory[Run]):
    """A run that goes on at once, of an event that is not stored."""

    class Meta:
        model = Run

    saga = "test"
    definition_hash = "x"
    key = Sequence(lambda number: f"key-{number}")
    status = RunStatus.RUNNING
    input = LazyFunction(dict[str, Any])
    event_id = LazyFunction(uuid4)
    correlation_id = LazyFunction(uuid4)
    due_at: Any = LazyFunction(timezone.now)
    started_at = LazyFunction(timezone.now)


class StoppedRunFactory(RunFactory):
    """A run that stands in front of a person, each since a second longer than the one made before it."""

    status = RunStatus.NEEDS_ATTENTION
    resumes_as = RunStatus.RUNNING
    stopped_at = Sequence(lambda number: timezone.now() - timedelta(seconds=number))
    due_at = None
    attention = Dict({"step": "first", "kind": "unexpected", "error": "Broken", "message": "it is broken"})


class StepRunFactory(DjangoModelFactory[StepRun]):
    class Meta:
        model = StepRun

    run = SubFactory(RunFactory)
    place = 0
    name = "first"
    step = SelfAttribute("name")
    status = StepStatus.PENDING
    idempotency_key = LazyFunction(lambda: str(uuid4()))


class DeliveryFactory(DjangoModelFactory[Delivery]):
    """A delivery that is due at once."""

    class Meta:
        model = Delivery

    event = SubFactory(EventFactory)
    subscription = "test"
    key = SelfAttribute("event.key")
    status = DeliveryStatus.PENDING
    due_at: Any = LazyFunction(timezone.now)


class ParkedDeliveryFactory(DeliveryFactory):
    """A delivery that was given up and stands in front of a person."""

    status = DeliveryStatus.PARKED
    attempts = 8
    due_at = None
    error = "ChannelDown: no route"


class FollowerFactory(DjangoModelFactory[Follower]):
    class Meta:
        model = Follower

    name = Sequence(lambda number: f"follower-{number}")
    position = 0
    began_at = LazyFunction(timezone.now)


class InterventionFactory(DjangoModelFactory[Intervention]):
    """An intervention that is pending."""

    class Meta:
        model = Intervention

    kind = "run"
    subject_id = LazyFunction(lambda: str(uuid4()))
    key = Sequence(lambda number: f"key-{number}")
    action = "retry"
    reason = "Why not."
    by = "boss"
    asked_at = LazyFunction(timezone.now)


class FindingFactory(DjangoModelFactory[Finding]):
    """An open finding of the reconciliation."""

    class Meta:
        model = Finding

    check_name = "money"
    key = LazyFunction(lambda: str(uuid4()))
    message = "It is off."
    facts = LazyFunction(dict[str, Any])
    found_at = LazyFunction(timezone.now)
    last_seen_at = SelfAttribute("found_at")
