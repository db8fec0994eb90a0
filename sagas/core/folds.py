"""Folds: the state of a subject, computed from its events in order.

Pure. A context declares how its own events change a state; to get the state at a moment, fold the events up to it.
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
    """The result of a fold: a value that JSON can hold; its defaults are the state before the first event."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Rule(Generic[AnyState]):
    """The change of a state by one type of event."""

    event: type[DomainEvent]
    then: Callable[[AnyState, Any, datetime], AnyState]


def when(event: type[AnyEvent], then: Callable[[AnyState, AnyEvent, datetime], AnyState]) -> Rule[AnyState]:
    """Return a rule: `then(state, event, moment)` returns the next state; the given state is not changed."""
    return Rule(event=event, then=then)


@dataclass(frozen=True, kw_only=True)
class Fold(Generic[AnyState]):
    """The rules by which events become a state.

    Attributes:
        start: the state before the first event.
        rules: one for each type of event; a type without a rule changes nothing.
        version: increases whenever a rule computes another state than before; this makes older snapshots invalid.
    """

    name: str
    start: AnyState
    rules: tuple[Rule[AnyState], ...]
    version: int = 1

    def of(self, events: Iterable[StoredPayload], *, after: AnyState | None = None) -> AnyState:
        """Return the state after these events, in their order, from the state `after` (by default the start).

        Raises:
            UnreadableEventError: a payload that today's code cannot read.
        """
        state = self.start if after is None else after
        for event in events:
            state = self.next(state, event)
        return state

    def next(self, state: AnyState, event: StoredPayload) -> AnyState:
        """Return the state after one event; an older version of it is lifted as it is read.

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
