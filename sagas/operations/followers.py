"""Followers of the log as subjects: pause, resume; of subscriptions also a move to the head of the log, and replay."""

# ruff: noqa: ARG002, ARG003 - not every operation needs all it is given

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from ..core import registry
from ..core.key_names import KeyLabel
from ..core.statuses import Action
from ..core.subscription import Start, Subscription
from ..db import locks
from ..log import followers
from ..models import Follower, Intervention
from .operation import Operation
from .subject import Messages, Subject
from .summary import Summary


class FollowerSubject(Subject[Follower]):
    """A subscription or a read model, at its position in the log."""

    kind = "follower"
    plural = "Followers of the log"
    model = Follower
    read = ("paused_at",)
    option = "--subscription"
    metavar = "NAME"
    listing = "followers"

    @property
    def status(self) -> str:
        return self.row.status

    @property
    def version_token(self) -> str:
        return self.row.status

    @property
    def applied_to(self) -> str:
        return self.row.name

    @property
    def subscription(self) -> Subscription | None:
        return registry.subscription(self.row.name)

    @property
    def may_be_moved(self) -> bool:
        """Whether its position may be changed: what starts runs, and a read model, must not miss or repeat an event."""
        is_read_model = registry.read_model(self.row.name.partition(":")[0]) is not None
        return not isinstance(self.subscription, Start) and not is_read_model

    def summary(self, named: KeyLabel | None, *, now: datetime) -> Summary:
        return Summary(
            kind=self.kind,
            pk=self.row.name,
            process=self.row.name,
            status=self.row.status,
            since=self.row.paused_at or self.row.began_at,
            key=self.row.name,
            version_token=self.version_token,
            actions=tuple(self.possible(now=now)),
        )

    @classmethod
    def lock(cls, asked: Sequence[Intervention]) -> list[Self]:
        if any(row.action == Action.SKIP for row in asked):
            # Before the rows, as the relay does, which writes their positions.
            locks.take(locks.Lock.LOG)
        return [cls(row) for row in Follower.objects.claimed().filter(pk__in=[row.subject_id for row in asked])]

    @classmethod
    def save(cls, changed: Sequence[Self], *, now: datetime) -> Messages:
        for each in changed:
            each.row.save(update_fields=["position", "paused_at"])
        return Messages()


class _OfFollower(Operation[FollowerSubject]):
    def names(self, shown: Summary, step: str = "") -> str:
        return f"“{shown.process}”"


class PauseFollower(_OfFollower):
    action = Action.PAUSE
    description = "Do nothing of what it is owed, and owe it nothing new, until it is resumed. The log keeps it all."
    done = "is paused"

    def is_possible(self, subject: FollowerSubject, *, now: datetime) -> bool:
        return subject.row.paused_at is None

    def apply(self, subject: FollowerSubject, asked: Intervention, *, now: datetime) -> None:
        subject.row.paused_at = now


class ResumeFollower(_OfFollower):
    action = Action.RESUME
    description = "Go on where it was paused: it catches up with the log, in order."
    done = "goes on"

    def is_possible(self, subject: FollowerSubject, *, now: datetime) -> bool:
        return subject.row.paused_at is not None

    def apply(self, subject: FollowerSubject, asked: Intervention, *, now: datetime) -> None:
        subject.row.paused_at = None


class SkipDeliveries(_OfFollower):
    action = Action.SKIP
    description = "Leave out all it has not been owed yet: it goes on with what comes from now on."
    done = "goes on at the end of the log"

    def is_possible(self, subject: FollowerSubject, *, now: datetime) -> bool:
        return subject.may_be_moved

    def apply(self, subject: FollowerSubject, asked: Intervention, *, now: datetime) -> None:
        subject.row.position = followers.head()


class ReplayEvents(_OfFollower):
    """Asked for by `replays.ask` and done by `replays.work`, portion by portion."""

    action = Action.REPLAY
    description = (
        "Owe it every event of a range of time once more, in the order of each key: its reaction is made again. What"
        " still waits, is parked or was left out by hand stays as it is. Others get nothing."
    )
    done = "is owed the range once more"
    wants_range = True

    def is_possible(self, subject: FollowerSubject, *, now: datetime) -> bool:
        return subject.may_be_moved and subject.subscription is not None

    def apply(self, subject: FollowerSubject, asked: Intervention, *, now: datetime) -> None:
        raise NotImplementedError


FollowerSubject.operations = (PauseFollower(), ResumeFollower(), SkipDeliveries(), ReplayEvents())
