"""The registry: an object a test passes, and the one that the engine asks."""

from typing import Any, ClassVar

import pytest

from sagas.core import registry
from sagas.core.books import Check, Walk
from sagas.core.errors import DefinitionError, UnknownSagaError
from sagas.core.events import DomainEvent
from sagas.core.key_names import KeyLabel, KeyNames
from sagas.core.read_model import ReadModel
from sagas.core.registry import Audited, Registry
from sagas.core.saga import Saga, Step
from sagas.core.subscription import Subscription, starts


class Wanted(DomainEvent):
    type: ClassVar[str] = "unit.wanted"
    aggregate: ClassVar[str] = "trip"


def saga_of(name: str) -> Saga[Wanted]:
    return Saga(name, input=Wanted, steps=(Step("book", queue="q", run=lambda _: None, undo=lambda _: None),))


def reaction(name: str) -> Subscription:
    return Subscription(name, event=Wanted, queue="q", react=lambda _: None)


def test_inside_active_the_engine_asks_this_registry_and_afterwards_the_former_one() -> None:
    before = registry.current()
    names = registry.names()
    mine = Registry([starts(saga_of("trip")), reaction("tell")])
    with mine.active():
        assert registry.current() is mine
        assert (registry.names(), registry.subscription_names()) == (["trip"], ["start-trip", "tell"])
        assert (registry.read_models(), registry.checks(), registry.walks()) == ([], [], [])
    assert registry.current() is before
    assert registry.names() == names
    assert "trip" not in names


def test_active_restores_the_former_registry_whatever_was_activated_inside() -> None:
    before = registry.current()
    with Registry([starts(saga_of("trip"))]).active():
        registry.activate(Registry())
        assert registry.names() == []
    assert registry.current() is before


def test_what_is_registered_inside_active_is_gone_afterwards() -> None:
    with Registry().active():
        registry.register([reaction("tell")])
        assert registry.subscription("tell") is not None
    assert registry.subscription("tell") is None


def test_a_rewired_registry_differs_in_sagas_and_subscriptions_only() -> None:
    forget = lambda: None  # noqa: E731
    names = KeyNames(named=lambda keys: {key: KeyLabel(noun="trip", name=key, url="/") for key in keys})
    first = Registry(
        [starts(saga_of("trip")), reaction("tell")],
        dormant=[reaction("asleep")],
        read_models=[ReadModel("trips", events=(Wanted,))],
        checks=[Check(name="balanced", look=lambda _: ())],
        walks=[Walk(name="all", step=lambda *_: ((), ""))],
        audited=[Audited(table="trips_trip")],
        on_change={"trips_trip": forget},
        key_names=names,
    )
    second = first.rewired([reaction("count")], sagas=[saga_of("flight")])
    assert (list(second.sagas), list(second.subscriptions)) == (["flight"], ["count"])
    with second.active():
        assert [one.name for one in registry.readers_of("unit.wanted")] == ["asleep", "count"]
        assert registry.named(["a"]) == {"a": KeyLabel(noun="trip", name="a", url="/")}
    for part in ("read_models", "checks", "walks", "audited", "on_change", "dormant", "key_names"):
        assert getattr(second, part) == getattr(first, part), part
    assert list(first.subscriptions) == ["start-trip", "tell"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sagas": [saga_of("trip")]}, "another saga called 'trip' is registered already"),
        (
            {"subscriptions": [reaction("tell")]},
            "another subscription called 'tell' is registered already",
        ),
        (
            {"read_models": [ReadModel("tell", events=())]},
            "a subscription called 'tell' is registered already",
        ),
        (
            {"subscriptions": [reaction("trips")]},
            "a read model called 'trips' is registered already",
        ),
        ({"checks": [Check(name="c", look=lambda _: ())]}, "another check called 'c' is registered already"),
        ({"walks": [Walk(name="w", step=lambda *_: ((), ""))]}, "another walk called 'w' is registered already"),
        ({"audited": [Audited(table="t", name="number")]}, "another audited table called 't' is registered already"),
    ],
)
def test_two_of_one_name_are_refused(more: dict[str, Any], message: str) -> None:
    known = Registry(
        [starts(saga_of("trip")), reaction("tell")],
        read_models=[ReadModel("trips", events=())],
        checks=[Check(name="c", look=lambda _: ())],
        walks=[Walk(name="w", step=lambda *_: ((), ""))],
        audited=[Audited(table="t")],
    )
    with pytest.raises(DefinitionError) as refused:
        known.register(**more)
    assert str(refused.value) == message


def test_a_saga_no_code_knows_is_named_with_those_that_are_known() -> None:
    with Registry(sagas=[saga_of("trip"), saga_of("flight")]).active(), pytest.raises(UnknownSagaError) as unknown:
        registry.saga("hotel")
    assert str(unknown.value) == "no saga is called 'hotel'; known: flight, trip"


def test_what_is_registered_already_may_come_again() -> None:
    saga, tell, check = saga_of("trip"), reaction("tell"), Check(name="c", look=lambda _: ())
    known = Registry()
    for _ in range(2):
        known.register([starts(saga), tell], sagas=[saga], dormant=[tell], checks=[check], audited=[Audited(table="t")])
    assert (list(known.sagas), list(known.subscriptions), known.dormant) == (["trip"], ["start-trip", "tell"], [tell])
