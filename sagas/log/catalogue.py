"""The catalogue of events and the AsyncAPI document: publishers, subscriptions and versions, made from the code."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import Any

from django.apps import apps

from ..core import registry
from ..core.contracts import Complaint, Schema, judge, schema_of
from ..core.events import DomainEvent, IntegrationEvent, known_events
from ..core.subscription import Start, Subscription
from . import cloudevents

#: The folder of a context with the committed schemas of its events.
FOLDER = "contracts"
#: When a version was committed.
SINCE = "x-since"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """An integration event with its committed schemas: version → schema."""

    event: type[IntegrationEvent]
    committed: Mapping[int, Schema]

    @property
    def readers(self) -> list[Subscription]:
        return _readers_of(self.event.type)

    def complaints(self) -> Iterator[Complaint]:
        return judge(self.event, self.committed, readers=[reader.name for reader in self.readers])

    def file(self) -> Path:
        return _folder(self.event) / f"{self.event.type.partition('.')[2]}.v{self.event.version}.json"


def contracts() -> list[Contract]:
    """Return the integration events of the installed apps, by type."""
    return [
        Contract(event=event, committed=_committed(event))
        for event in known_events()
        if issubclass(event, IntegrationEvent) and apps.get_containing_app_config(event.__module__) is not None
    ]


def complaints() -> Iterator[Complaint]:
    """Yield the faults of all contracts, including contracts whose event is gone."""
    known = contracts()
    for contract in known:
        yield from contract.complaints()
    yield from _without_an_event({contract.event.type for contract in known})


def _without_an_event(known: Collection[str]) -> Iterator[Complaint]:
    for config in apps.get_app_configs():
        for path in sorted((Path(config.path) / FOLDER).glob("*.v*.json")):
            event_type = f"{config.label}.{path.name.partition('.')[0]}"
            if event_type not in known:
                text = (
                    f"{event_type}: {path.name} is committed, and there is no such event any more. If its last reader"
                    " has moved, delete the file; otherwise others are left without it."
                )
                yield Complaint(type=event_type, text=text)


def write(*, today: str) -> list[Path]:
    """Write the contract of every event whose change breaks no reader; return the files that changed.

    Args:
        today: an ISO date, from which a new version can be relied on.
    """
    changed = []
    for contract in contracts():
        found = list(contract.complaints())
        if found and all(complaint.stale for complaint in found):
            since = contract.committed.get(contract.event.version, {}).get(SINCE, today)
            path = contract.file()
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                json.dumps({**schema_of(contract.event), SINCE: since}, indent=2, ensure_ascii=False) + "\n"
            )
            changed.append(path)
    return changed


def _folder(event: type[DomainEvent]) -> Path:
    config = apps.get_containing_app_config(event.__module__)
    if config is None:
        raise LookupError(f"{event.__module__} belongs to no installed app")
    return Path(config.path) / FOLDER


def _committed(event: type[IntegrationEvent]) -> dict[int, Schema]:
    name = event.type.partition(".")[2]
    return {
        int(path.stem.rpartition(".v")[2]): json.loads(path.read_text())
        for path in _folder(event).glob(f"{name}.v*.json")
    }


# The catalogue ---------------------------------------------------------------------------------------------------


def page() -> str:
    """Return the catalogue as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    known = contracts()
    yield "# Events"
    yield ""
    yield "Published events and their reactions. Made by `manage.py events catalogue`; a test keeps it fresh. How one"
    yield "may change stands in [contracts](contracts.md), the same for machines in [asyncapi.json](asyncapi.json)."
    yield ""
    yield "| event | version | since | reactions |"
    yield "|---|---|---|---|"
    for contract in known:
        event = contract.event
        link = f"[`{event.type}`](#{event.type.replace('.', '')})"
        yield f"| {link} | {event.version} | {_since(contract, event.version)} | {_readers(contract.readers)} |"
    for context, of_it in groupby(known, key=lambda contract: contract.event.type.partition(".")[0]):
        yield ""
        yield f"## {context}"
        for contract in of_it:
            yield from _section(contract)
    yield from _inside_contexts()


def _section(contract: Contract) -> Iterator[str]:
    event = contract.event
    yield ""
    yield f"### {event.type}"
    yield ""
    yield cleandoc(event.__doc__ or "").replace("\n\n", "\n")
    yield ""
    facts = [f"Of one {event.aggregate.replace('_', ' ')}, in order by `key`", f"compatibility: {event.compatibility}"]
    if event.replaces is not None:
        left = _readers(_readers_of(event.replaces.type))
        facts.append(f"takes the place of `{event.replaces.type}`, whose readers are {left}")
    yield "; ".join(facts) + "."
    yield ""
    yield "| field | is | |"
    yield "|---|---|---|"
    yield from _fields(schema_of(event))
    yield ""
    yield "```json"
    yield json.dumps(event.example, indent=2, ensure_ascii=False)
    yield "```"


def _fields(schema: Schema, at: str = "", root: Schema | None = None) -> Iterator[str]:
    root = schema if root is None else root
    for name, field in schema["properties"].items():
        inner = _inner(field, root)
        needed = "" if name in schema.get("required", ()) else "may be missing"
        words = ". ".join(filter(None, [field.get("description", ""), needed]))
        yield f"| `{at}{name}` | {_kind(field)} | {words} |"
        if inner is not None:
            yield from _fields(inner, f"{at}{name}[].", root)


def _inner(field: Schema, root: Schema) -> Schema | None:
    reference = field.get("items", {}).get("$ref", "")
    return root["$defs"][reference.rpartition("/")[2]] if reference else None


def _kind(field: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"])
    if "items" in field:
        return "list"
    return str(field.get("format") or field.get("type", "anything"))


def _inside_contexts() -> Iterator[str]:
    inside = [event for event in known_events() if not issubclass(event, IntegrationEvent) and _is_ours(event)]
    yield ""
    yield "## Inside contexts"
    yield ""
    yield "Domain events: no contract, and no other context reacts to them."
    yield ""
    yield "| event | what | reactions |"
    yield "|---|---|---|"
    for event in inside:
        first = cleandoc(event.__doc__ or "").partition("\n")[0]
        yield f"| `{event.type}` | {first} | {_readers(_readers_of(event.type))} |"


def _is_ours(event: type[DomainEvent]) -> bool:
    return apps.get_containing_app_config(event.__module__) is not None


def _since(contract: Contract, version: int) -> str:
    return str(contract.committed.get(version, {}).get(SINCE, "not committed"))


def _readers_of(event_type: str) -> list[Subscription]:
    """Return the subscriptions of the code, without those configured in the environment of one process."""
    return [reader for reader in registry.readers_of(event_type) if not reader.configured]


def _readers(readers: Iterable[Subscription]) -> str:
    names = [f"starts `{each.saga.name}`" if isinstance(each, Start) else f"`{each.name}`" for each in readers]
    return ", ".join(names) or "none"


# AsyncAPI --------------------------------------------------------------------------------------------------------


def asyncapi(*, title: str, description: str) -> dict[str, Any]:
    """Return the AsyncAPI 3 document: a channel for each type, with its sender and its receivers."""
    known = contracts()
    schemas: dict[str, Any] = {"CloudEvent": cloudevents.SCHEMA}
    for contract in known:
        schemas |= _schemas(contract.event)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": "1.0.0", "description": description},
        "defaultContentType": cloudevents.MEDIA_TYPE,
        "channels": {contract.event.type: _channel(contract.event) for contract in known},
        "operations": dict(pair for contract in known for pair in _operations(contract)),
        "components": {
            "messages": {_message_name(contract.event): _message(contract.event) for contract in known},
            "schemas": schemas,
        },
    }


def _schemas(event: type[IntegrationEvent]) -> dict[str, Any]:
    """Return the schema of an event and the schemas it refers to, by names that are unique in the document."""
    schema = event.model_json_schema(ref_template=f"#/components/schemas/{event.type}.{{model}}")
    parts = schema.pop("$defs", {})
    return {event.type: schema} | {f"{event.type}.{name}": part for name, part in parts.items()}


def _channel(event: type[IntegrationEvent]) -> dict[str, Any]:
    name = _message_name(event)
    return {
        "address": event.type,
        "description": cleandoc(event.__doc__ or ""),
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _message_name(event: type[IntegrationEvent]) -> str:
    return f"{event.type}.v{event.version}"


def _message(event: type[IntegrationEvent]) -> dict[str, Any]:
    said = {
        "type": "object",
        "properties": {"type": {"const": event.type}, "data": {"$ref": f"#/components/schemas/{event.type}"}},
    }
    return {
        "name": event.type,
        "title": event.__name__,
        "summary": cleandoc(event.__doc__ or "").partition("\n")[0],
        "contentType": cloudevents.MEDIA_TYPE,
        "payload": {"allOf": [{"$ref": "#/components/schemas/CloudEvent"}, said]},
        "examples": [{"payload": {"type": event.type, "data": event.example}}],
    }


def _operations(contract: Contract) -> Iterator[tuple[str, dict[str, Any]]]:
    event = contract.event
    channel = f"#/channels/{event.type}"
    common = {
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_message_name(event)}"}],
    }
    yield f"publish.{event.type}", {"action": "send", "title": f"{event.type.partition('.')[0]} publishes", **common}
    for reader in contract.readers:
        title = f"{reader.name} reacts, on the queue {reader.queue}"
        yield f"{reader.name}.{event.type}", {"action": "receive", "title": title, **common}
