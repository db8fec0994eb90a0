"""Old payloads meet new code: what was written in an earlier version is lifted where it is read."""

from typing import Any, ClassVar

import pytest
from django.db import transaction

from sagas.core import registry
from sagas.core.events import Data
from sagas.core.registry import Registry
from sagas.core.saga import Call, Pivot, Result, Saga, Step
from sagas.core.statuses import Action
from sagas.core.subscription import Received, Subscription, starts
from sagas.log import outbox
from sagas.log.relay import relay_events
from sagas.models import Delivery, Event, Run
from sagas.operations import interventions
from sagas.testing import MovableClock, drive

from .conftest import Ask, Asked, Script, Told, emit, intervene, standing


def _with_colour(data: Data) -> Data:
    return data | {"colour": "as it was before there were any"}


class AskedInColour(Asked):
    """The second version of `tests.asked`."""

    version: ClassVar[int] = 2
    upcasters = {1: _with_colour}

    colour: str


class ToldInColour(Told):
    version: ClassVar[int] = 2
    upcasters = {1: _with_colour}

    colour: str


@pytest.fixture
def seen(transactional_db: None) -> Any:
    return []


def wired(seen: list[str], *, asked: type[Asked], told: type[Told]) -> tuple[Subscription, ...]:
    def look(call: Call[Any]) -> Result:
        seen.append(f"step {getattr(call.input, 'colour', 'none')}")
        return None

    def react(received: Received[Any]) -> None:
        seen.append(f"reaction {getattr(received.event, 'colour', 'none')}")

    saga = Saga(
        "test", input=asked, steps=(Pivot("look", queue="sagas", run=look), Step("again", queue="sagas", run=look))
    )
    return starts(saga), Subscription("inside", event=told, queue="sagas", react=react)


def test_events_of_an_older_version_are_lifted_for_whoever_reads_them(seen: list[str], clock: MovableClock) -> None:
    emit(Asked(name="k"), clock)
    emit(Told(name="k"), clock)
    with Registry(wired(seen, asked=AskedInColour, told=ToldInColour)).active():
        drive(now=clock)
    colour = "as it was before there were any"
    assert sorted(seen) == [f"reaction {colour}", f"step {colour}", f"step {colour}"]
    assert Run.objects.get().input == {"name": "k"}
    assert Run.objects.get().input_version == 1


def test_a_run_under_way_is_carried_on_by_code_of_a_newer_version(seen: list[str], clock: MovableClock) -> None:
    emit(Asked(name="k"), clock)
    with Registry(wired(seen, asked=Asked, told=Told)).active():
        relay_events(now=clock(), limit=10)
    clock.move(minutes=10)
    with Registry(wired(seen, asked=AskedInColour, told=ToldInColour)).active():
        drive(now=clock)
    assert Run.objects.get().status == "completed"
    assert seen == ["step as it was before there were any"] * 2


def test_code_of_an_older_version_reads_what_is_new_to_it(seen: list[str], clock: MovableClock) -> None:
    emit(AskedInColour(name="k", colour="red"), clock)
    emit(ToldInColour(name="k", colour="red"), clock)
    assert set(Event.objects.values_list("version", flat=True)) == {2}
    with Registry(wired(seen, asked=Asked, told=Told)).active():
        drive(now=clock)
    assert sorted(seen) == ["reaction none", "step none", "step none"]
    assert Run.objects.get().input_version == 2
    assert Delivery.objects.get().status == "done"


def test_what_cannot_be_lifted_parks_alone(seen: list[str], script: Script, clock: MovableClock) -> None:
    class Broken(ToldInColour):
        upcasters = {1: lambda data: data["no such field"]}

    emit(Told(name="k"), clock)
    emit(ToldInColour(name="other", colour="red"), clock)
    with Registry(wired(seen, asked=Asked, told=Broken)).active():
        for _ in range(30):
            drive(now=clock)
            clock.move(hours=1)
    assert dict(Delivery.objects.values_list("key", "status")) == {"k": "parked", "other": "done"}
    assert "KeyError" in Delivery.objects.get(key="k").error


def test_a_person_may_act_on_a_run_that_this_process_has_no_code_for(ask: Ask, clock: MovableClock) -> None:
    """It waits for a process that has the code; other interventions are not held up."""
    for key in "ab":
        ask(key)
    relay_events(now=clock(), limit=10)
    for run in Run.objects.all():
        intervene(run, "pause", clock)
    Run.objects.filter(key="a").update(saga="of-other-code")
    for run in Run.objects.order_by("key"):
        interventions.ask([run], Action.RESUME, reason="the code is there", by="ada", now=clock())
    worked = interventions.work(now=clock())
    assert (worked.done, len(worked.wake_ups)) == (2, 1)
    assert standing("a")[0] == standing("b")[0] == "running"


# A breaking change: a second type beside the first ------------------------------------------------------------------


class ToldInGross(Told):
    """Counts in dozens, which who reads `Told` would take for pieces: a breaking change."""

    type: ClassVar[str] = "tests.told_in_gross"
    replaces = Told


def test_a_second_type_runs_beside_the_first_until_its_last_reader_has_moved(
    transactional_db: None, clock: MovableClock
) -> None:
    seen: list[tuple[str, str, int]] = []

    def reader(name: str, event: type[Told]) -> Subscription:
        def react(received: Received[Told]) -> None:
            seen.append((name, received.event.type, received.event.number))

        return Subscription(name, event=event, queue="sagas", react=react)

    def publish(number: int) -> None:
        with transaction.atomic():
            outbox.emit(Told(name="k", number=12 * number), ToldInGross(name="k", number=number), now=clock())

    with Registry([reader("early", Told), reader("late", Told)]).active():
        emit(Told(name="k", number=12), clock)
        drive(now=clock)
    with Registry([reader("early", ToldInGross), reader("late", Told)]).active():
        publish(2)
        drive(now=clock)
        assert [one.name for one in registry.readers_of(Told.type)] == ["late"]
    with Registry([reader("early", ToldInGross), reader("late", ToldInGross)]).active():
        assert registry.readers_of(Told.type) == []
        emit(ToldInGross(name="k", number=3), clock)
        drive(now=clock)
    # Each reader got each of the three facts once, in their order, whenever it moved.
    assert [each[1:] for each in seen if each[0] == "early"] == [
        ("tests.told", 12), ("tests.told_in_gross", 2), ("tests.told_in_gross", 3)
    ]  # fmt: skip
    assert [each[1:] for each in seen if each[0] == "late"] == [
        ("tests.told", 12), ("tests.told", 24), ("tests.told_in_gross", 3)
    ]  # fmt: skip
