"""What a person sees of a subject, of any kind."""

from dataclasses import dataclass
from datetime import datetime

from ..core.key_names import KeyLabel
from ..core.statuses import Action, label


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The data of a subject that a person needs for a decision.

    Attributes:
        pk: primary key of its row.
        process: its saga or subscription.
        step: its current step; empty if it has no steps.
        since: when it stopped; for a subject that is not stopped, when it started.
        named: the label of its key, if there is one.
        version_token: its version; an intervention is refused if that has changed (optimistic lock).
        actions: the actions that apply now.
        unanswered: number of tries of its step without an answer: each may have taken effect.
        paused: the person who paused it and the reason; empty unless it is paused.
    """

    kind: str
    pk: str
    process: str
    status: str
    step: str = ""
    error: str = ""
    error_kind: str = ""
    message: str = ""
    tries: int = 0
    since: datetime
    key: str
    named: KeyLabel | None = None
    version_token: str
    actions: tuple[Action, ...]
    unanswered: int = 0
    paused: str = ""

    @property
    def pick(self) -> str:
        """The text by which a form names it, with its version."""
        return f"{self.kind}:{self.pk}@{self.version_token}"

    @property
    def title(self) -> str:
        return self.key if self.named is None else self.named.text

    @property
    def standing(self) -> str:
        return label(self.status)
