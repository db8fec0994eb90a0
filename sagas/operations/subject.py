"""The protocol of a subject: an object that people retry, skip, pause or replay. Each kind of subject is one class.

`subjects.KINDS` lists the kinds. Interventions, the work queue, the admin's pages and the command use only what is
declared here, in `summary` and in `operation`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, Self, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.urls import reverse

from ..core.errors import Rejected
from ..core.key_names import KeyLabel
from ..core.statuses import Action, label
from ..engine.wake_ups import DeliveryWakeUp, WakeUp
from ..models import Intervention
from .operation import Operation
from .summary import Summary

Row = TypeVar("Row", bound=Model)

#: Value of `Filter.status`: all subjects that wait for a person, and paused runs.
STOPPED = "stopped"


class NotNow(Rejected):
    """The action does not apply, or its subject has changed since the person looked: nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter of subjects; an empty field is no condition.

    Attributes:
        kind: name of a kind.
        process: name of a saga or a subscription.
        step: name of the step a run stands at.
        error: name of the last exception.
        status: status of runs; `STOPPED` means all that waits for a person, of every kind.
    """

    kind: str = ""
    process: str = ""
    step: str = ""
    error: str = ""
    status: str = ""
    key: str = ""

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> "Filter":
        """Read a filter from a query string; other parameters are ignored."""
        return cls(**{name: str(query.get(name) or "").replace("\x00", "") for name in cls.__dataclass_fields__})

    def narrowed(self) -> dict[str, str]:
        """Return the fields that are not empty, for a query string."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, kw_only=True)
class Messages:
    """The messages to send once the transaction is committed."""

    wake_ups: list[WakeUp] = field(default_factory=list)
    deliveries: list[DeliveryWakeUp] = field(default_factory=list)


class Subject(ABC, Generic[Row]):
    """An object that people act on: a wrapper of its row.

    Attributes:
        kind: name of the kind, as in `Intervention.kind`, picks and filters.
        plural: its heading.
        model: the table of its rows. The permission to change a row is the permission to act on it.
        operations: the operations on it, by action.
        read: the columns that `key` and `version_token` need, so that only these are read of many rows.
        tag: label of a waiting subject in the work queue; empty if the kind is never in the queue.
        option: the command's option for a subject; empty for the positional argument.
        metavar: what the option takes, for the help text.
        listing: the command that lists subjects.
    """

    kind: ClassVar[str]
    plural: ClassVar[str]
    model: ClassVar[type[Model]]
    operations: ClassVar[Sequence[Operation[Any]]]
    read: ClassVar[Sequence[str]]
    tag: ClassVar[str] = ""
    option: ClassVar[str]
    metavar: ClassVar[str] = "ID"
    listing: ClassVar[str] = "queue"

    def __init__(self, row: Row) -> None:
        self.row = row

    # One ----------------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def status(self) -> str: ...

    @property
    @abstractmethod
    def version_token(self) -> str:
        """Its version: changes with everything that makes an earlier decision stale."""

    @property
    def key(self) -> str:
        """The key it belongs to; empty if it belongs to none."""
        return ""

    @property
    def applied_to(self) -> str:
        """Name of the step or the subscription to which an intervention is applied."""
        return ""

    @property
    def standing(self) -> str:
        """Its status as the end of a sentence: "it is paused"."""
        return f"is {label(self.status)}"

    @abstractmethod
    def summary(self, named: KeyLabel | None, *, now: datetime) -> Summary: ...

    def possible(self, *, now: datetime) -> list[Action]:
        """Return the actions that apply now."""
        return [each.action for each in self.operations if each.is_possible(self, now=now)]

    def result_example(self) -> Any:
        """Return an example of its current step's result, for a person who skips the step; None if there is none."""
        return None

    def refusal(self, action: Action) -> str:
        """Return why an action does not apply."""
        return f"{action} does not apply: the {self.kind} {self.standing}."

    # The kind -----------------------------------------------------------------------------------------------------

    @classmethod
    def operation(cls, action: str) -> Operation[Any] | None:
        return next((each for each in cls.operations if each.action == action), None)

    @classmethod
    def permission(cls, verb: str) -> str:
        meta = cls.model._meta  # noqa: SLF001 - Django's documented API
        return f"{meta.app_label}.{verb}_{meta.model_name}"

    @classmethod
    def page_url(cls, pk: str) -> str:
        meta = cls.model._meta  # noqa: SLF001
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[pk])

    @classmethod
    def find(cls, text: str) -> Row | None:
        """Return the row that is named at the terminal."""
        return cls.rows([text]).first() if cls.is_pk(text) else None

    @classmethod
    def is_pk(cls, text: str) -> bool:
        """Say whether a text, which may come from outside, is the primary key of a row, as `str` writes it."""
        pk: Any = cls.model._meta.pk  # noqa: SLF001
        try:
            return "\x00" not in text and str(pk.clean(text, None)) == text
        except ValidationError:
            return False

    # Sets ---------------------------------------------------------------------------------------------------------

    @classmethod
    def rows(cls, pks: Iterable[str]) -> QuerySet[Any]:
        return cls.model._default_manager.filter(pk__in=list(pks))  # noqa: SLF001

    @classmethod
    def load(cls, rows: Sequence[Row]) -> list[Self]:
        """Return subjects with all data that `possible` and `summary` need: as many statements for many as for one."""
        return [cls(row) for row in rows]

    @classmethod
    def meant(cls, meant: Filter) -> QuerySet[Any]:  # noqa: ARG003 - a kind without a tag is never in the queue
        """Return the rows that match a filter."""
        return cls.model._default_manager.none()  # noqa: SLF001

    @classmethod
    def reasons(cls) -> tuple[Any, Any, Any]:
        """Return expressions on the rows of `meant`: process, step and error, by which the queue groups."""
        raise NotImplementedError

    @classmethod
    def since(cls) -> Any:
        """Return an expression on the rows of `meant`: when a row stopped, by which the queue is sorted."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def lock(cls, asked: Sequence[Intervention]) -> list[Self]:
        """Lock the subjects of these interventions that no other transaction has locked.

        Transaction: requires one.
        """

    @classmethod
    @abstractmethod
    def save(cls, changed: Sequence[Self], *, now: datetime) -> Messages:
        """Save the changes of operations; return the messages to send once they are committed."""
