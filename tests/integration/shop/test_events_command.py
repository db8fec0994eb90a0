"""`manage.py events`: contracts are judged, committed and listed; what the docs show of them is what the code says."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import ClassVar

import pytest
from django.core.management import CommandError, call_command

from orders.events import OrderPlaced
from sagas.core import registry
from sagas.log import catalogue
from sagas.log.catalogue import Contract
from shop import wiring
from shop.outward import receivers

ROOT = Path(__file__).resolve().parents[3]

# A contract is written with the date of the database's clock, whose reading another test may have forgotten.
pytestmark = pytest.mark.django_db


def events(action: str) -> str:
    call_command("events", action, stdout=(out := StringIO()), stderr=StringIO())
    return out.getvalue()


def refused(action: str) -> str:
    """Return what is said where the command ends with 1."""
    with pytest.raises(CommandError):
        call_command("events", action, stdout=StringIO(), stderr=(said := StringIO()))
    return said.getvalue()


def test_all_contracts_of_the_shop_hold() -> None:
    assert events("check") == "All contracts hold.\n"


@pytest.mark.parametrize(("action", "page"), [("catalogue", "events.md"), ("asyncapi", "asyncapi.json")])
def test_what_the_docs_show_of_events_is_fresh(action: str, page: str) -> None:
    assert events(action) == (ROOT / "docs" / page).read_text(), f"run `manage.py events {action} > docs/{page}`"


def test_receivers_of_one_process_stand_in_no_page_that_is_committed() -> None:
    (hook,) = receivers.webhooks(
        f'[{{"name": "erp", "url": "https://erp.example.com/", "secret": "whsec_{"QUFB" * 12}"}}]', insecure=False
    )
    with registry.current().rewired([*registry.subscriptions(), wiring.to_webhook(hook)]).active():
        assert events("catalogue") == (ROOT / "docs" / "events.md").read_text()
        assert events("asyncapi") == (ROOT / "docs" / "asyncapi.json").read_text()


def test_every_integration_event_has_a_committed_contract_in_its_own_context() -> None:
    known = catalogue.contracts()
    assert {contract.event.type.partition(".")[0] for contract in known} == {
        "orders", "inventory", "payments", "notifications",
    }  # fmt: skip
    for contract in known:
        assert list(contract.committed) == [contract.event.version]
        assert contract.file().is_relative_to(ROOT / contract.event.type.partition(".")[0])


# Changes --------------------------------------------------------------------------------------------------------------


class OrderPlacedWithChannel(OrderPlaced):
    """What a developer might write: a field that everybody has to send."""

    example: ClassVar = {**OrderPlaced.example, "channel": "web"}

    channel: str


class OrderPlacedWithGift(OrderPlaced):
    """The same, so that nobody notices who need not."""

    version: ClassVar[int] = 2
    example: ClassVar = {**OrderPlaced.example, "gift": False}

    gift: bool = False


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[type[OrderPlaced]], Path]:
    """Have the project consist of one event, changed, with a copy of the contracts that were committed."""

    def changed(event: type[OrderPlaced]) -> Path:
        committed = ROOT / "orders" / "contracts" / "order_placed.v1.json"
        (tmp_path / committed.name).write_text(committed.read_text())
        monkeypatch.setattr(catalogue, "_folder", lambda _: tmp_path)
        monkeypatch.setattr(
            catalogue, "contracts", lambda: [Contract(event=event, committed=catalogue._committed(event))]
        )
        monkeypatch.setattr(catalogue, "_without_an_event", lambda _: [])
        return tmp_path

    return changed


def test_a_breaking_change_is_refused_and_not_written(changed: Callable[[type[OrderPlaced]], Path]) -> None:
    folder = changed(OrderPlacedWithChannel)
    text = refused("check")
    assert "orders.order_placed 1 is not what was committed" in text
    assert "channel: is needed, and is not written" in text
    assert "start-fulfil-order" in text
    assert refused("write") == text
    assert [path.name for path in folder.iterdir()] == ["order_placed.v1.json"]
    assert "channel" not in (folder / "order_placed.v1.json").read_text()


def test_a_compatible_version_is_written_once_and_passes(changed: Callable[[type[OrderPlaced]], Path]) -> None:
    folder = changed(OrderPlacedWithGift)
    assert "Run: manage.py events write" in refused("check")
    assert "order_placed.v2.json" in events("write")
    written = json.loads((folder / "order_placed.v2.json").read_text())
    assert written["$id"] == "urn:event:orders.order_placed:2"
    assert len(written["x-since"]) == len("2026-11-25")
    assert events("write") == events("check") == "All contracts hold.\n"


def test_other_words_are_written_and_the_date_stays(changed: Callable[[type[OrderPlaced]], Path]) -> None:
    folder = changed(OrderPlaced)
    path = folder / "order_placed.v1.json"
    schema = json.loads(path.read_text())
    path.write_text(json.dumps({**schema, "description": "In other words.", "x-since": "2020-02-02"}))
    assert "missing or stale" in refused("check")
    events("write")
    assert json.loads(path.read_text()) == {**schema, "x-since": "2020-02-02"}


def test_a_committed_contract_without_its_event_is_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = [contract for contract in catalogue.contracts() if contract.event is not OrderPlaced]
    monkeypatch.setattr(catalogue, "contracts", lambda: known)
    assert "orders.order_placed: order_placed.v1.json is committed, and there is no such event any more" in refused(
        "check"
    )
