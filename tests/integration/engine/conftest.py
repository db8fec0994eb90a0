"""A saga and a subscription of the tests' own, whose steps do as they are told."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from django.db import transaction
from pytest_django import Settings

from sagas.core import registry
from sagas.core.events import DomainEvent, IntegrationEvent
from sagas.core.registry import Registry
from sagas.core.retry import Retry
from sagas.core.saga import Call, Pivot, Result, Saga, Step
from sagas.core.statuses import Action
from sagas.core.subscription import Received, Start, Subscription, starts
from sagas.log import outbox
from sagas.models import Delivery, Event, Follower, Run
from sagas.operations import interventions
from sagas.operations.interventions import Worked
from sagas.testing import MovableClock

Ask = Callable[..., Event]
Deploy = Callable[..., object]
Tell = Callable[[str, int], Event]


class Asked(IntegrationEvent):
    type: ClassVar[str] = "tests.asked"
    aggregate: ClassVar[str] = "test"

    name: str

    @property
    def subject_id(self) -> str:
        return self.name


class Told(Asked):
    type: ClassVar[str] = "tests.told"

    number: int = 0


class Script:
    """What the steps did, and what they are to do: `says["step"]` is a list of errors, raised in turn."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.says: dict[str, list[BaseException | Any]] = {}
        self.keys: dict[str, set[str]] = {}

    def step(self, name: str) -> Callable[[Call[Asked]], Result]:
        def act(call: Call[Asked]) -> Result:
            self.did.append(f"{name} {call.key}")
            self.keys.setdefault(name, set()).add(call.idempotency_key)
            said = self.says.get(name)
            answer = said.pop(0) if said else {"by": name}
            if isinstance(answer, BaseException):
                raise answer
            return answer if isinstance(answer, dict) else None

        act.__name__ = name.replace("-", "_")
        return act

    def react(self, received: Received[Told]) -> None:
        self.did.append(f"told {received.event.name} {received.event.number}")
        said = self.says.get(f"told {received.event.name}")
        if said and isinstance(error := said.pop(0), BaseException):
            raise error


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def batches(settings: Settings) -> None:
    settings.SAGAS_BATCH_SIZE = 100


@pytest.fixture
def saga(script: Script, transactional_db: None) -> Iterator[Saga[Asked]]:
    """`first`, then `far` outside, the pivot, `last`; two subscriptions to `Told`."""
    twice = Retry(attempts=2, base_seconds=10, cap_seconds=10)
    saga = Saga(
        "test",
        input=Asked,
        deadline=timedelta(hours=1),
        steps=(
            Step("first", queue="sagas", run=script.step("first"), undo=script.step("undo-first"), retry=twice,
                 undo_retry=twice),
            Step("far", queue="sagas", run=script.step("far"), undo=script.step("undo-far"), retry=twice,
                 undo_retry=twice, probe=script.step("probe"), outside=True),
            Pivot("pivot", queue="sagas", run=script.step("pivot"), retry=twice),
            Step("last", queue="sagas", run=script.step("last"), retry=twice),
        ),
        after_undo=(Step("say-sorry", queue="sagas", run=script.step("say-sorry"), retry=twice),),
    )  # fmt: skip
    inside = Subscription("inside", event=Told, queue="sagas", react=script.react, retry=twice)
    with Registry([starts(saga), inside]).active():
        yield saga


@pytest.fixture
def deploy(saga: Saga[Asked]) -> Iterator[Deploy]:
    """Be a process of other code, to the end of the test: it knows these sagas, and the reactions there are."""
    reactions = [one for one in registry.subscriptions() if not isinstance(one, Start)]
    with registry.current().active():  # it is the current one again after the test
        yield lambda *sagas: registry.activate(Registry([*map(starts, sagas), *reactions]))


@pytest.fixture
def ask(saga: Saga[Asked], clock: MovableClock) -> Ask:
    def ask(name: str = "k") -> Event:
        return emit(Asked(name=name), clock)

    return ask


@pytest.fixture
def tell(saga: Saga[Asked], clock: MovableClock) -> Tell:
    def tell(name: str, number: int) -> Event:
        return emit(Told(name=name, number=number), clock)

    return tell


def emit(event: DomainEvent, clock: MovableClock) -> Event:
    with transaction.atomic():
        outbox.emit(event, now=clock())
    return Event.objects.latest("position")


def intervene(
    subject: Run | Delivery | Follower,
    action: str,
    clock: MovableClock,
    *,
    version_token: str | None = None,
    result: Any = None,
) -> Worked:
    """Do what a person with a reason does at a button."""
    batch = interventions.ask(
        [subject],
        Action(action),
        reason="somebody must",
        by="ada",
        now=clock(),
        version_tokens=version_token,
        result=result,
    )
    return interventions.work(now=clock(), batch=batch)


def standing(key: str = "k") -> tuple[str, dict[str, str]]:
    run = Run.objects.get(key=key)
    return run.status, dict(run.steps.order_by("place").values_list("name", "status"))


def ids(*keys: str) -> list[UUID]:
    return list(Run.objects.filter(key__in=keys or ["k"]).order_by("id").values_list("id", flat=True))
