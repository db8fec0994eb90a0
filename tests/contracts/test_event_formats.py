"""Events as other people's tools read them: the SDK of CloudEvents, the schema that AsyncAPI publishes."""

import json
import subprocess
import tarfile
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012 as DRAFT

from sagas.log import catalogue, cloudevents
from sagas.models import Event
from sagas.testing import drive
from tests.factories.orders import Place

ROOT = Path(__file__).resolve().parent.parent.parent
#: Where AsyncAPI publishes its schemas, and the one for version 3.
SPECS, SCHEMA = "@asyncapi/specs@6.11.1", "package/schemas/3.0.0.json"


@pytest.fixture
def events(place: Place) -> list[Event]:
    """All events of an order that was confirmed, and of one that was rejected."""
    place()
    place("tok_chargeDeclined")
    drive()
    return list(Event.objects.order_by("position"))


def test_every_event_is_a_cloudevent_for_its_own_sdk(events: list[Event]) -> None:
    assert len({event.type for event in events}) == 10
    for event in events:
        read = JSONFormat().read(None, json.dumps(cloudevents.envelope(event)))
        assert read.get_specversion() == "1.0"
        assert (read.get_id(), read.get_type()) == (str(event.id), event.type)
        assert (read.get_source(), read.get_time()) == (f"/{event.type.partition('.')[0]}", event.occurred_at)
        assert read.get_data() == event.data
        assert read.get_extension("correlationid") == str(event.correlation_id)
        assert read.get_extension("partitionkey") == event.key


def test_every_event_fits_the_contract_that_was_committed(events: list[Event]) -> None:
    committed = {
        (one.event.type, version): schema for one in catalogue.contracts() for version, schema in one.committed.items()
    }
    for event in events:
        if event.type != "notifications.notification_queued":
            Draft202012Validator(committed[event.type, event.version]).validate(event.data)


@pytest.fixture(scope="session")
def published_schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What AsyncAPI says a document looks like, from its package."""
    npm = which("npm")
    if npm is None:
        pytest.skip("needs npm, with which AsyncAPI publishes its schema (Debian: apt install npm)")
    folder = tmp_path_factory.mktemp("asyncapi")
    subprocess.run([npm, "pack", "--silent", SPECS], cwd=folder, check=True, timeout=120)
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        file = package.extractfile(SCHEMA)
        assert file is not None
        return json.load(file)


def test_the_document_is_what_asyncapi_publishes_a_schema_for(published_schema: Any) -> None:
    document = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    assert [error.message for error in Draft7Validator(published_schema).iter_errors(document)] == []
    broken = document | {"channels": {"x": {"address": 1}}}
    assert list(Draft7Validator(published_schema).iter_errors(broken)) != []


def test_every_event_fits_its_message_in_the_document(events: list[Event]) -> None:
    document = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    registry: Any = Registry().with_resource("urn:shop", Resource.from_contents(document, default_specification=DRAFT))
    for event in events:
        name = f"{event.type}.v{event.version}"
        if name in document["components"]["messages"]:
            payload = {"$ref": f"urn:shop#/components/messages/{name}/payload"}
            Draft202012Validator(payload, registry=registry).validate(cloudevents.envelope(event))
