"""Contracts: finds fields that one side writes and the other side cannot read.

Pure: compares JSON Schemas, as pydantic makes them. A writer writes every field its schema has; a reader ignores fields
it does not know.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import ValidationError

from .events import Compatibility, IntegrationEvent

Schema = Mapping[str, Any]

#: Words for people: they do not affect compatibility.
_WORDS = frozenset({"title", "description", "examples", "default", "deprecated"})
#: Lower and upper bounds of a value.
_LOWER_LIMITS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_LIMITS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
#: Keywords that must be equal on both sides: whether one value includes the other cannot be computed.
_ALIKE = ("format", "pattern", "multipleOf", "uniqueItems", "not", "if", "then", "else", "allOf", "contains")


@dataclass(frozen=True, kw_only=True)
class Break:
    """A field that cannot be read as it is written, such as `legs[].from`, and the reason."""

    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.field}: {self.why}"


# Schemas ---------------------------------------------------------------------------------------------------------


def schema_of(event: type[IntegrationEvent]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the payload of an event's current version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:event:{event.type}:{event.version}",
        **event.model_json_schema(),
        "examples": [event.example],
    }


def same_shape(one: Schema, other: Schema) -> bool:
    """Say whether two schemas are equal apart from words for people."""
    return bool(_shape(one) == _shape(other))


def _shape(part: Any, *, of_names: bool = False) -> Any:
    """Return a schema without words for people; `of_names`: its keys are names of fields, not keywords."""
    if isinstance(part, Mapping):
        return {
            key: _shape(value, of_names=key in ("properties", "$defs") and not of_names)
            for key, value in part.items()
            if of_names or not (key in _WORDS or key.startswith(("$schema", "$id", "x-")))
        }
    return [_shape(each) for each in part] if isinstance(part, list) else part


def breaks(written: Schema, read: Schema) -> list[Break]:
    """Return the fields that a reader of the schema `read` cannot take from a writer of the schema `written`."""
    return list(_Comparison(written, read).breaks(written, read, ""))


class _Comparison:
    """Walks two schemas side by side; each has its own definitions."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self._written, self._read = written.get("$defs", {}), read.get("$defs", {})

    def breaks(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        options = _alternatives(read, self._read)
        for each in _alternatives(written, self._written):
            found = [list(self._of_one(each, option, at)) for option in options]
            yield from min(found, key=len)

    def _of_one(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        if read.get("type") not in (None, written.get("type")) and not _is_whole(written, read):
            yield Break(field=at or "it", why=f"is {_named(written)}, where {_named(read)} is read")
            return
        parts = (self._values, self._bounds, self._alike, self._fields, self._items, self._others)
        yield from chain.from_iterable(part(written, read, at) for part in parts)

    def _values(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        known, said = _values_of(read), _values_of(written)
        if known is None:
            return
        if said is None:
            yield Break(field=at, why=f"may be anything, where only {_listed(known)} is read")
        elif new := [value for value in said if value not in known]:
            yield Break(field=at, why=f"may be {_listed(new)}, which is not known")

    def _bounds(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        for name in _LOWER_LIMITS:
            if name in read and written.get(name, read[name] - 1) < read[name]:
                yield Break(field=at, why=f"may be below {read[name]} ({name})")
        for name in _UPPER_LIMITS:
            if name in read and written.get(name, read[name] + 1) > read[name]:
                yield Break(field=at, why=f"may be above {read[name]} ({name})")

    def _alike(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        for name in _ALIKE:
            if name in read and read[name] != written.get(name):
                is_now = f"is {written[name]}" if name in written else "has none"
                yield Break(field=at, why=f"{name} {is_now}, where {read[name]} is read")

    def _fields(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        said, known = written.get("properties", {}), read.get("properties", {})
        for name in read.get("required", ()):
            if name not in said:
                yield Break(field=_join(at, name), why="is needed, and is not written")
        for name in known:
            if name in said:
                yield from self.breaks(said[name], known[name], _join(at, name))

    def _items(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        places = zip(written.get("prefixItems", ()), read.get("prefixItems", ()), strict=False)
        for place, (one, other) in enumerate(places):
            yield from self.breaks(one, other, f"{at}[{place}]")
        if isinstance(read.get("items"), Mapping):
            for one in [*written.get("prefixItems", ())[len(read.get("prefixItems", ())) :], written.get("items", {})]:
                yield from self.breaks(one, read["items"], f"{at}[]")

    def _others(self, written: Schema, read: Schema, at: str) -> Iterator[Break]:
        """Compare additional properties, whose names are not known beforehand."""
        others = read.get("additionalProperties")
        if isinstance(others, Mapping):
            unnamed = written.get("additionalProperties")
            if isinstance(unnamed, Mapping):
                yield from self.breaks(unnamed, others, _join(at, "*"))
            for name in written.get("properties", {}).keys() - read.get("properties", {}).keys():
                yield from self.breaks(written["properties"][name], others, _join(at, name))


def _alternatives(schema: Schema, definitions: Mapping[str, Schema]) -> list[Schema]:
    """Return the alternatives of a value, references followed."""
    if "$ref" in schema:
        return _alternatives(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    options = schema.get("anyOf") or schema.get("oneOf") or ()
    return [each for option in options for each in _alternatives(option, definitions)] or [schema]


def _is_whole(written: Schema, read: Schema) -> bool:
    return (written.get("type"), read.get("type")) == ("integer", "number")


def _values_of(schema: Schema) -> Sequence[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _named(schema: Schema) -> str:
    kind = str(schema.get("type", "anything"))
    return {"anything": kind, "null": "null"}.get(kind, f"{'an' if kind[0] in 'aio' else 'a'} {kind}")


def _listed(values: Sequence[Any]) -> str:
    return " or ".join(map(repr, values))


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


# Judging ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A fault of a contract.

    Attributes:
        type: type of the event.
        text: the fault for people; some lines.
        stale: only the words or the example differ; `manage.py events write` mends it.
    """

    type: str
    text: str
    stale: bool = False


def judge(
    event: type[IntegrationEvent], committed: Mapping[int, Schema], *, readers: Sequence[str]
) -> Iterator[Complaint]:
    """Yield the faults of the current version of an event.

    Args:
        committed: the schema of each committed version.
        readers: the subscriptions of this project that read it.
    """
    if not hasattr(event, "example"):
        yield Complaint(type=event.type, text=f"{event.type} has no example: give the class `example = {{...}}`.")
        return
    today = schema_of(event)
    yield from _of_the_example(event)
    if event.version < max(committed, default=0):
        text = f"{event.type} is version {event.version}, but version {max(committed)} was committed: versions go up."
        yield Complaint(type=event.type, text=text)
        return
    earlier = {version: schema for version, schema in committed.items() if version < event.version}
    broken = list(chain.from_iterable(_against(event, today, earlier[number], number) for number in sorted(earlier)))
    known = committed.get(event.version)
    if known is not None and not same_shape(known, today):
        broken += _against(event, today, known, event.version)
        yield Complaint(type=event.type, text=_changed(event, broken, readers))
    elif broken:
        yield Complaint(type=event.type, text="\n".join([*broken, *_advice(event, readers)]))
    elif known is None or _without_extensions(known) != today:
        text = f"{event.type} {event.version}: its committed contract is missing or stale. Run: manage.py events write"
        yield Complaint(type=event.type, text=text, stale=True)


def _of_the_example(event: type[IntegrationEvent]) -> Iterator[Complaint]:
    try:
        if event.read(event.example, version=event.version).model_dump(mode="json") == event.example:
            return
        why = "reading and writing it makes something else of it"
    except ValidationError as error:
        why = _first(error)
    yield Complaint(type=event.type, text=f"{event.type}: its example does not fit: {why}")


def _against(event: type[IntegrationEvent], today: Schema, schema: Schema, version: int) -> Iterator[str]:
    """Yield, as lines, the incompatibilities with a committed version."""
    if event.compatibility != Compatibility.FORWARD:
        found = _lifting(event, schema, version) if _is_lifted(event, version) else breaks(schema, today)
        if found:
            yield f"{event.type}: today's readers cannot read what was written as version {version}:"
            yield from (f"    {each}" for each in found)
    if event.compatibility != Compatibility.BACKWARD and (found := breaks(today, schema)):
        yield f"{event.type}: readers of version {version} cannot read what is written today:"
        yield from (f"    {each}" for each in found)


def _is_lifted(event: type[IntegrationEvent], version: int) -> bool:
    return any(number in event.upcasters for number in range(version, event.version))


def _lifting(event: type[IntegrationEvent], schema: Schema, version: int) -> list[Break]:
    """Return the outcome of lifting the example that was committed with an older version."""
    try:
        event.read(schema["examples"][0], version=version)
    except ValidationError as error:
        return [Break(field="the lifted example", why=_first(error))]
    except (LookupError, TypeError, ValueError) as error:
        return [Break(field="its upcaster", why=f"raises {type(error).__name__}: {error}")]
    return []


def _changed(event: type[IntegrationEvent], broken: Sequence[str], readers: Sequence[str]) -> str:
    head = f"{event.type} {event.version} is not what was committed; a committed version never changes."
    if broken:
        return "\n".join([head, *broken, *_advice(event, readers)])
    return (
        f"{head}\nThe change breaks no reader: give the class `version = {event.version + 1}` and run:"
        " manage.py events write"
    )


def _advice(event: type[IntegrationEvent], readers: Sequence[str]) -> list[str]:
    return [
        f"  It is declared {event.compatibility}. Its readers here: {', '.join(readers) or 'none'}.",
        "  A new field needs a default, and no field may go or change its type. An upcaster can lift what was written",
        "  before. Where that is not enough, publish a second type beside this one: docs/contracts.md.",
    ]


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'it'}: {first['msg']}"


def _without_extensions(schema: Schema) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if not key.startswith("x-")}
