"""Folds: what something has become is what its events, one after the other, made of it.

Pure: with these a context writes down how its own events change a state; whoever wants the state of some moment folds
the events up to then.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import UnreadableEventError
from .events import DomainEvent, StoredPayload

AnyEvent = TypeVar("AnyEvent", bound=DomainEvent)
AnyState = TypeVar("AnyState", bound="State")


class State(BaseModel):
    """What events add up to: a value that JSON can hold; its defaults are what was before the first event."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Rule(Generic[AnyState]):
    """What one type of event makes of a state."""

    event: type[DomainEvent]
    then: Callable[[AnyState, Any, datetime], AnyState]


def when(event: type[AnyEvent], then: Callable[[AnyState, AnyEvent, datetime], AnyState]) -> Rule[AnyState]:
    """Return the rule that `event`, at its moment, makes `then` of a state; the state itself stays as it was."""
    return Rule(event=event, then=then)


@dataclass(frozen=True, kw_only=True)
class Fold(Generic[AnyState]):
    """How events become a state.

    Attributes:
        start: the state before the first event.
        rules: one a type of event; a type without one changes nothing.
        version: goes up whenever a rule comes to another state than before: it makes snapshots of before invalid.
    """

    name: str
    start: AnyState
    rules: tuple[Rule[AnyState], ...]
    version: int = 1

    def of(self, events: Iterable[StoredPayload], *, after: AnyState | None = None) -> AnyState:
        """Return what the events, in their order, make of the state before them (the start, unless told otherwise).

        Raises:
            UnreadableEventError: a payload that today's code cannot read.
        """
        state = self.start if after is None else after
        for event in events:
            state = self.next(state, event)
        return state

    def next(self, state: AnyState, event: StoredPayload) -> AnyState:
        """Return what one event makes of a state; an older version of it is lifted as it is read.

        Raises:
            UnreadableEventError: a payload that today's code cannot read.
        """
        rule = self._by_type.get(event.type)
        if rule is None:
            return state
        try:
            read = rule.event.read(event.data, version=event.version)
        except (ValidationError, LookupError, TypeError, ValueError) as error:
            raise UnreadableEventError(event.type, event.version, event.occurred_at) from error
        return rule.then(state, read, event.occurred_at)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the version, with the shape of the state, and with the versions of the events."""
        events = sorted((rule.event.type, rule.event.version) for rule in self.rules)
        made_of = [self.version, type(self.start).model_json_schema(), events]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def _by_type(self) -> Mapping[str, Rule[AnyState]]:
        return {rule.event.type: rule for rule in self.rules}
