"""A step is added to the order process as docs/coordination.md says, in both coordinations."""

import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orders.models import Order
from sagas.core import registry
from sagas.core.saga import Saga
from sagas.core.subscription import Subscription, starts
from sagas.models import Delivery, Run, StepRun
from sagas.testing import drive
from shop.wiring import WIRING
from tests.factories.orders import Place

PROCESSES = Path(__file__).resolve().parent.parent.parent / "shop" / "processes"
PAGE = (PROCESSES.parent.parent / "docs" / "coordination.md").read_text()


def blocks() -> list[str]:
    """Return the three blocks of the page: the function, the line of the saga, the line of the choreography."""
    section = PAGE.partition("## Adding a step")[2].partition("\n## ")[0]
    return [block.strip("\n") for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL)]


def put(source: str, block: str, *, above: str) -> str:
    assert source.count(above) == 1, f"{above!r} is to stand once"
    return source.replace(above, f"{block}\n{above}")


def module(name: str, source: str) -> ModuleType:
    """Return a module of the package `shop.processes` made of this source."""
    spec = spec_from_loader(f"shop.processes.{name}", loader=None)
    assert spec is not None
    made = module_from_spec(spec)
    sys.modules[spec.name] = made
    exec(compile(source, f"{name}.py", "exec"), made.__dict__)  # noqa: S102 - our own source
    return made


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[ModuleType, ModuleType]]:
    """Return the saga and the choreography with the page's blocks put where the page says."""
    function, step, reaction = blocks()
    saga = (PROCESSES / "fulfil_order.py").read_text()
    saga = put(saga, f"{function}\n\n", above="fulfil_order = Saga(")
    saga = put(saga, step, above='        Step("confirm-order"')
    events = (PROCESSES / "fulfil_order_by_events.py").read_text()
    events = put(events, reaction, above="        # orders.order_confirmed →")
    events = events.replace("from .fulfil_order import", "from .fulfil_order_with_gift_wrap import")
    try:
        yield (
            module("fulfil_order_with_gift_wrap", saga),
            module("fulfil_order_by_events_with_gift_wrap", events),
        )
    finally:
        del sys.modules["shop.processes.fulfil_order_with_gift_wrap"]
        sys.modules.pop("shop.processes.fulfil_order_by_events_with_gift_wrap", None)


@pytest.fixture
def saga(processes: tuple[ModuleType, ModuleType]) -> Saga[Any]:
    made: Saga[Any] = processes[0].fulfil_order
    return made


def others() -> list[Subscription]:
    """Return the reactions that an order has whoever coordinates it."""
    return [one for one in WIRING if one.name == "send-notification"]


def test_the_saga_takes_the_step_in_its_place(saga: Saga[Any], place: Place) -> None:
    assert list(saga.faults()) == []
    with registry.Registry([starts(saga), *others()]).active():
        place()
        drive()
        assert list(StepRun.objects.order_by("place").values_list("name", "status")) == [
            ("reserve-stock", "done"), ("hold-credit", "skipped"), ("capture-payment", "done"),
            ("book-shipment", "done"), ("gift-wrap", "done"), ("confirm-order", "done"), ("notify-customer", "done"),
        ]  # fmt: skip
        assert Run.objects.get().results["gift-wrap"] == {"wrapped": 2}
    assert Order.objects.get().status == "confirmed"


def test_the_choreography_takes_the_step_on_its_event(processes: tuple[ModuleType, ModuleType], place: Place) -> None:
    choreography = processes[1].fulfil_order_by_events
    with registry.Registry([choreography.begins, *choreography.reactions, *others()]).active():
        place()
        drive()
        assert Delivery.objects.get(subscription="then-gift-wrap").status == "done"
        assert not Delivery.objects.exclude(status="done").exists()
    assert Order.objects.get().status == "confirmed"
    assert not Run.objects.exists()


def test_the_page_puts_no_step_into_the_product() -> None:
    """The example stays an example."""
    assert "gift" not in (PROCESSES / "fulfil_order.py").read_text()
