"""The protocol of an operation: what a person does to a subject, such as retry, skip or pause. Each is one class."""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from ..core.statuses import Action, label
from ..models import Intervention
from .summary import Summary

#: The class of its subjects, or what the operation needs of them.
S = TypeVar("S")


class Operation(ABC, Generic[S]):
    """An action on subjects of one kind.

    Attributes:
        description: the effect, for the person who confirms it.
        done: end of the sentence about the subject afterwards: "trip 7 is being undone".
        of_step: it applies to the step or the subscription, and names it; otherwise to the whole subject.
        wants_result: its form has a field for the result of the step.
        wants_range: its form has fields for a range of time.
    """

    action: ClassVar[Action]
    description: ClassVar[str]
    done: ClassVar[str]
    of_step: ClassVar[bool] = False
    wants_result: ClassVar[bool] = False
    wants_range: ClassVar[bool] = False

    @property
    def display_name(self) -> str:
        return label(self.action).capitalize()

    @abstractmethod
    def is_possible(self, subject: S, *, now: datetime) -> bool:
        """Say whether it applies to the subject now."""

    @abstractmethod
    def apply(self, subject: S, asked: Intervention, *, now: datetime) -> None:
        """Change the locked subject in memory; its kind's `save` writes it."""

    def warning(self, unanswered: int) -> str:  # noqa: ARG002 - most actions need none
        """Return the warning for subjects with this number of tries without an answer."""
        return ""

    def names(self, shown: Summary, step: str = "") -> str:
        """Return its object, for use in a sentence: “book-hotel” of trip 7; trip 7.

        Args:
            step: the step it was applied to; if empty, the subject's current step.
        """
        part, whole = step or shown.step or shown.process, shown.named.in_text if shown.named else ""
        if self.of_step:
            return f"“{part}” of {whole or shown.key}"
        return whole or f"{shown.process} of {shown.key}"


def unanswered_warning(unanswered: int) -> str:
    """Return the warning before a step with unanswered tries is skipped; empty if all tries were answered."""
    if not unanswered:
        return ""
    tries = "1 try" if unanswered == 1 else f"{unanswered} tries"
    return (
        f"{tries} had no answer and may have taken effect at the other system. Look there first: what is skipped is"
        " not asked about again."
    )
