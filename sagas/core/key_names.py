"""Texts of a project for keys and figures that the engine does not understand."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class KeyLabel:
    """The label of a key, such as trip T1042, and the page of its object."""

    noun: str
    name: str
    url: str

    @property
    def text(self) -> str:
        """At the beginning of a sentence, or as the whole text."""
        return f"{self.noun[:1].upper()}{self.noun[1:]} {self.name}"

    @property
    def in_text(self) -> str:
        return f"{self.noun} {self.name}"


@dataclass(frozen=True, kw_only=True)
class KeyNames:
    """What the project knows about keys and figures, and the engine does not.

    Args:
        named: returns the labels of the given keys that have one.
        key_of: returns the key with this label.
        example: what people type to find a key, as in "the id or the number of a trip".
        notes: by action ("cancel"), its effect outside the engine; added to the action's description.
        shown_facts: returns the facts of a finding (`Breach.facts`) as people read them: amounts with their unit.
    """

    named: Callable[[Collection[str]], Mapping[str, KeyLabel]] = lambda _: {}
    key_of: Callable[[str], str | None] = lambda _: None
    example: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    shown_facts: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda facts: facts
