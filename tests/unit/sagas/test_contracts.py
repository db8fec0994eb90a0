"""What may become of a contract, and what is said where it breaks."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError

from sagas.core.contracts import Complaint, breaks, judge, same_shape, schema_of
from sagas.core.events import Compatibility, Data, IntegrationEvent


class Part(BaseModel):
    sku: str
    quantity: int = Field(ge=1)


class Base(IntegrationEvent):
    aggregate: ClassVar[str] = "test"
    type: ClassVar[str] = "tests.made"
    example: ClassVar[Data] = {"name": "a", "size": 1, "parts": [{"sku": "x", "quantity": 1}], "colour": "red"}


class Made(Base):
    name: str
    size: int
    parts: tuple[Part, ...]
    colour: Literal["red", "blue"] = "red"


FIRST = schema_of(Made)


def made(version: int = 2, *, also: Data | None = None, **fields: Any) -> type[IntegrationEvent]:
    """Return the event with other fields, `...` for one that is gone."""
    annotations = {"name": str, "size": int, "parts": tuple[Part, ...], "colour": Literal["red", "blue"]} | {
        name: kind if isinstance(kind, type) or not isinstance(kind, tuple) else kind[0]
        for name, kind in fields.items()
    }
    defaults = {"colour": "red"} | {name: kind[1] for name, kind in fields.items() if isinstance(kind, tuple)}
    gone = {name for name, kind in fields.items() if kind is ...}
    body: dict[str, Any] = {
        "__annotations__": {name: kind for name, kind in annotations.items() if name not in gone},
        "__module__": __name__,
        "version": version,
        "example": {name: value for name, value in (Base.example | (also or {})).items() if name not in gone},
        **{name: value for name, value in defaults.items() if name not in gone},
    }
    return type("Made", (Base,), body)


def said(event: type[IntegrationEvent], committed: dict[int, Any] | None = None) -> str:
    found = judge(event, {1: FIRST} if committed is None else committed, readers=["fulfil-order", "sales"])
    return "\n".join(complaint.text for complaint in found)


# Comparing ------------------------------------------------------------------------------------------------------------


def test_a_schema_can_be_read_by_itself() -> None:
    assert breaks(FIRST, FIRST) == []


@pytest.mark.parametrize(
    ("change", "backward", "forward"),
    [
        (lambda: made(note=(str, "")), [], []),
        (lambda: made(note=str, also={"note": ""}), ["note: is needed, and is not written"], []),
        (lambda: made(size=...), [], ["size: is needed, and is not written"]),
        (lambda: made(colour=...), [], []),
        (
            lambda: made(size=str, also={"size": "1"}),
            ["size: is an integer, where a string is read"],
            ["size: is a string, where an integer is read"],
        ),
        (lambda: made(size=float), [], ["size: is a number, where an integer is read"]),
        (lambda: made(size=(int | None, None)), [], ["size: is null, where an integer is read"]),
        (
            lambda: made(colour=(Literal["red", "blue", "green"], "red")),
            [],
            ["colour: may be 'green', which is not known"],
        ),
        (lambda: made(colour=(Literal["red"], "red")), ["colour: may be 'blue', which is not known"], []),
        (lambda: made(colour=(str, "red")), [], ["colour: may be anything, where only 'red' or 'blue' is read"]),
        (lambda: made(name=UUID, also={"name": "01a2133d-0634-7601-8156-ed54c8ee7b63"}),
         ["name: format has none, where uuid is read"], []),
        (lambda: made(parts=Part, also={"parts": {"sku": "x", "quantity": 1}}),
         ["parts: is an array, where an object is read"], ["parts: is an object, where an array is read"]),
    ],
    ids=[
        "a new field with a default", "a new field without one", "a field is gone", "one with a default is gone",
        "another type", "a wider number", "may be null", "one more value", "one value less", "any value", "a format",
        "another shape",
    ],
)  # fmt: skip
def test_a_change_breaks_whom_it_breaks(
    change: Callable[[], type[IntegrationEvent]], backward: list[str], forward: list[str]
) -> None:
    today = schema_of(change())
    assert [str(each) for each in breaks(FIRST, today)] == backward
    assert [str(each) for each in breaks(today, FIRST)] == forward


def schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def test_a_break_deep_inside_names_its_path() -> None:
    class Slimmer(BaseModel):
        sku: str
        quantity: int = Field(ge=5, le=10)

    class Old(BaseModel):
        parts: tuple[Part, ...]
        prices: dict[str, int]

    class New(BaseModel):
        parts: tuple[Slimmer, ...]
        prices: dict[str, str]

    assert [str(each) for each in breaks(schema(Old), schema(New))] == [
        "parts[].quantity: may be below 5 (minimum)",
        "parts[].quantity: may be above 10 (maximum)",
        "prices.*: is an integer, where a string is read",
    ]


def test_places_of_a_pair_are_compared_one_by_one() -> None:
    class Old(BaseModel):
        pair: tuple[int, str]

    class New(BaseModel):
        pair: tuple[int, int]

    assert [str(each) for each in breaks(schema(Old), schema(New))] == [
        "pair[1]: is a string, where an integer is read"
    ]


def test_each_alternative_of_the_writer_needs_one_of_the_reader() -> None:
    class Old(BaseModel):
        size: int | str | None

    class New(BaseModel):
        size: str | float

    assert [str(each) for each in breaks(schema(Old), schema(New))] == ["size: is null, where a string is read"]


def test_words_for_people_are_no_part_of_the_shape() -> None:
    class One(BaseModel):
        title: str = Field(description="one")

    class Other(BaseModel):
        """With more words."""

        title: str = Field(description="other", examples=["x"])

    class Another(BaseModel):
        description: str

    assert same_shape(schema(One), schema(Other))
    assert not same_shape(schema(One), schema(Another))


# Judging --------------------------------------------------------------------------------------------------------------


def test_what_was_committed_and_is_so_is_well() -> None:
    assert said(Made) == ""


def test_a_changed_version_is_refused_with_field_and_readers() -> None:
    text = said(made(version=1, channel=str, also={"channel": "web"}))
    assert text.startswith("tests.made 1 is not what was committed; a committed version never changes.")
    assert "tests.made: today's readers cannot read what was written as version 1:" in text
    assert "    channel: is needed, and is not written" in text
    assert "Its readers here: fulfil-order, sales." in text


def test_a_harmless_change_asks_for_a_version() -> None:
    text = said(made(version=1, note=(str, ""), also={"note": ""}))
    assert "breaks no reader: give the class `version = 2` and run: manage.py events write" in text


def test_a_new_version_that_breaks_nobody_is_only_to_be_written() -> None:
    (complaint,) = judge(made(note=(str, ""), also={"note": ""}), {1: FIRST}, readers=[])
    assert complaint.stale
    assert complaint.text == ("tests.made 2: its committed contract is missing or stale. Run: manage.py events write")


def test_a_new_version_is_held_against_all_before_it() -> None:
    second = made(2, note=(str, ""), also={"note": ""})
    third = made(3, note=str, also={"note": ""})
    text = said(third, {1: FIRST, 2: schema_of(second)})
    assert "written as version 1" in text
    assert "written as version 2" not in text


def test_a_version_never_goes_back() -> None:
    assert said(Made, {1: FIRST, 2: FIRST}) == "tests.made is version 1, but version 2 was committed: versions go up."


@pytest.mark.parametrize(
    ("declared", "refused"),
    [(Compatibility.BACKWARD, False), (Compatibility.FORWARD, True), (Compatibility.FULL, True)],
)
def test_a_field_may_go_where_only_new_readers_count(declared: Compatibility, refused: bool) -> None:
    event = made(size=...)
    event.compatibility = declared
    assert ("readers of version 1 cannot read what is written today" in said(event)) == refused


@pytest.mark.parametrize(
    ("declared", "refused"),
    [(Compatibility.BACKWARD, True), (Compatibility.FORWARD, False), (Compatibility.FULL, True)],
)
def test_a_field_may_be_needed_where_only_old_readers_count(declared: Compatibility, refused: bool) -> None:
    event = made(note=str, also={"note": ""})
    event.compatibility = declared
    assert ("today's readers cannot read what was written as version 1" in said(event)) == refused


def test_an_upcaster_lifts_what_was_written_before() -> None:
    event = made(note=str, also={"note": "x"})
    event.upcasters = {1: lambda data: data | {"note": "as before"}}
    (complaint,) = judge(event, {1: FIRST}, readers=[])
    assert complaint.stale
    assert event.read(Base.example, version=1).model_dump()["note"] == "as before"


@pytest.mark.parametrize(
    ("upcaster", "why"),
    [
        (lambda data: data, "the lifted example: note: Field required"),
        (lambda data: {"note": data["colours"]}, "its upcaster: raises KeyError: 'colours'"),
    ],
)
def test_an_upcaster_that_does_not_lift_is_found(upcaster: Callable[[Data], Data], why: str) -> None:
    event = made(note=str, also={"note": "x"})
    event.upcasters = {1: upcaster}
    assert f"written as version 1:\n    {why}" in said(event)


def test_upcasters_are_called_in_turn_and_leave_the_stored_payload_alone() -> None:
    event = made(4, size=int)
    event.upcasters = {
        1: lambda data: data | {"size": data["size"] + 1},
        3: lambda data: data | {"size": data["size"] * 10},
    }
    stored = dict(Base.example)
    assert event.lifted(stored, version=1)["size"] == 20
    assert event.lifted(stored, version=2)["size"] == 10
    assert event.lifted(stored, version=4) == stored == Base.example


def test_a_newer_version_than_the_code_is_read_as_it_is() -> None:
    assert Made.read(Base.example | {"unknown": 1}, version=9).model_dump(mode="json") == Base.example
    with pytest.raises(ValidationError):
        Made.read({"name": "a"}, version=9)


def test_an_example_has_to_fit() -> None:
    event = made(1)
    event.example = Base.example | {"size": "large"}
    assert "its example does not fit: size: Input should be a valid integer" in said(event)
    event.example = {name: value for name, value in Base.example.items() if name != "colour"}
    assert "its example does not fit: reading and writing it makes something else of it" in said(event)


def test_an_event_without_an_example_is_told_so() -> None:
    class Bare(IntegrationEvent):
        aggregate: ClassVar[str] = "test"
        type: ClassVar[str] = "tests.bare"

    (complaint,) = judge(Bare, {}, readers=[])
    assert complaint == Complaint(
        type="tests.bare", text="tests.bare has no example: give the class `example = {...}`."
    )
