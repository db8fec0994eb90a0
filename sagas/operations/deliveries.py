"""Parked deliveries as subjects: reactions that have no tries left are retried or skipped."""

# ruff: noqa: ARG002 - not every operation needs all it is given

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from django.db.models import F, Func, OuterRef, Q, QuerySet, Subquery, TextField, Value, prefetch_related_objects
from django.db.models.functions import Coalesce

from ..core.key_names import KeyLabel
from ..core.statuses import Action, DeliveryStatus, RunStatus
from ..engine.deliveries import send_again, skip_deliveries
from ..models import Attempt, Delivery, Intervention
from . import queries
from .operation import Operation, unanswered_warning
from .subject import STOPPED, Filter, Messages, Subject
from .summary import Summary


class DeliverySubject(Subject[Delivery]):
    """A delivery: an event owed to a subscription."""

    kind = "delivery"
    plural = "Parked deliveries"
    model = Delivery
    read = ("key", "attempts", "status")
    tag = "parked"
    option = "--delivery"

    def __init__(self, row: Delivery, failed: Attempt | None = None, unanswered: int = 0) -> None:
        super().__init__(row)
        self.failed, self.unanswered = failed, unanswered

    @property
    def status(self) -> str:
        return self.row.status

    @property
    def version_token(self) -> str:
        return f"{self.row.attempts}:{self.row.status}"

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def applied_to(self) -> str:
        return self.row.subscription

    def summary(self, named: KeyLabel | None, *, now: datetime) -> Summary:
        delivery, failed = self.row, self.failed
        error, _, message = delivery.error.partition(": ")
        return Summary(
            kind=self.kind,
            pk=str(delivery.pk),
            process=delivery.subscription,
            status=delivery.status,
            error=error if failed is None else failed.error,
            error_kind="" if failed is None else failed.kind,
            message=message if failed is None else failed.message,
            tries=delivery.attempts,
            unanswered=self.unanswered,
            since=delivery.started_at or delivery.event.occurred_at if failed is None else failed.failed_at,
            key=delivery.key,
            named=named,
            version_token=self.version_token,
            actions=tuple(self.possible(now=now)),
        )

    @classmethod
    def load(cls, rows: Sequence[Delivery]) -> list[Self]:
        tries = Attempt.objects.filter(delivery__in=rows).defer("traceback")
        last = {attempt.delivery_id: attempt for attempt in tries.order_by("delivery", "-pk").distinct("delivery")}
        prefetch_related_objects([row for row in rows if row.started_at is None and row.pk not in last], "event")
        unanswered = queries.unanswered((), rows)
        return [cls(row, last.get(row.pk), unanswered.get(row.pk, 0)) for row in rows]

    @classmethod
    def meant(cls, meant: Filter) -> QuerySet[Delivery]:
        """Return the parked deliveries that match; other deliveries continue without a person."""
        is_of_runs = meant.step or meant.status not in ("", STOPPED, RunStatus.NEEDS_ATTENTION, DeliveryStatus.PARKED)
        if meant.kind not in ("", cls.kind) or is_of_runs:
            return Delivery.objects.none()
        found = Delivery.objects.filter(status=DeliveryStatus.PARKED)
        if meant.error:
            found = found.filter(Q(error=meant.error) | Q(error__startswith=f"{meant.error}:"))
        named = {"subscription": meant.process, "key": meant.key}
        return found.filter(**{name: value for name, value in named.items() if value})

    @classmethod
    def reasons(cls) -> tuple[Any, Any, Any]:
        error = Func(F("error"), Value(":"), Value(1), function="split_part", output_field=TextField())
        return F("subscription"), Value(""), error

    @classmethod
    def since(cls) -> Any:
        last_try = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-pk").values("failed_at")[:1]
        return Coalesce(Subquery(last_try), "started_at", "event__occurred_at")

    @classmethod
    def lock(cls, asked: Sequence[Intervention]) -> list[Self]:
        return [cls(row) for row in Delivery.objects.claimed().filter(pk__in=[row.subject_id for row in asked])]

    @classmethod
    def save(cls, changed: Sequence[Self], *, now: datetime) -> Messages:
        rows = [each.row for each in changed]
        again = [row for row in rows if row.status == DeliveryStatus.PENDING]
        skipped = [row for row in rows if row.status == DeliveryStatus.SKIPPED]
        return Messages(deliveries=send_again(again, now=now) + skip_deliveries(skipped, now=now))


class _OfParked(Operation[DeliverySubject]):
    """An operation on a parked delivery; the new status also refuses a second intervention of the same portion."""

    of_step = True
    becomes: DeliveryStatus

    def is_possible(self, subject: DeliverySubject, *, now: datetime) -> bool:
        return subject.status == DeliveryStatus.PARKED

    def apply(self, subject: DeliverySubject, asked: Intervention, *, now: datetime) -> None:
        subject.row.status = self.becomes


class RetryDelivery(_OfParked):
    action = Action.RETRY
    description = "Try it again, with all its tries. The deliveries behind it follow."
    done = "is tried again"
    becomes = DeliveryStatus.PENDING


class SkipDelivery(_OfParked):
    action = Action.SKIP
    description = "Leave it out: this reaction is not made. The deliveries behind it follow."
    done = "is left out"
    becomes = DeliveryStatus.SKIPPED

    def warning(self, unanswered: int) -> str:
        return unanswered_warning(unanswered)


DeliverySubject.operations = (RetryDelivery(), SkipDelivery())
