"""The journal, the event log and what is owed, to look at; parked deliveries can be sent again."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from . import clock, deliveries, registry, tasks
from .backoffice import InspectAdmin, InspectInline, labelled
from .models import Attempt, Delivery, Event, Run, StepRun
from .transitions import DeliveryStatus

_RUN_LABELS = {
    "running": "info",
    "paused": "warning",
    "compensating": "warning",
    "completed": "success",
    "compensated": "warning",
    "needs attention": "danger",
}
_STEP_LABELS = {
    "running": "info",
    "unknown": "warning",
    "done": "success",
    "failed": "danger",
    "undoing": "warning",
    "undone": "warning",
}
_DELIVERY_LABELS = {"pending": "info", "running": "info", "done": "success", "parked": "danger"}


def _took(start: datetime | None, end: datetime | None) -> str:
    return "-" if start is None or end is None else f"{(end - start).total_seconds():.3f} s"


def _tried(attempts: Iterable[Attempt]) -> SafeString:
    """Return failed tries as a list, each with its traceback folded in."""
    rows = [
        (attempt.failed_at.strftime("%Y-%m-%d %H:%M:%S"), attempt.kind, attempt, attempt.traceback)
        for attempt in attempts
    ]
    return format_html_join(
        "",
        '<details style="margin-bottom:.75rem"><summary>{} · {} · {}</summary>'
        '<pre style="overflow-x:auto;white-space:pre">{}</pre></details>',
        rows,
    ) or SafeString("None failed.")


class StepInline(InspectInline):
    """The steps of a run, in their order, its undo behind them."""

    model = StepRun
    fields = ("place", "name", "action", "state", "attempts", "started_at", "took", "held_until")
    readonly_fields = ("state", "took")
    ordering = ("place",)
    verbose_name_plural = "steps"
    hide_title = True

    @labelled("status", _STEP_LABELS)
    def state(self, row: StepRun) -> str:
        return row.get_status_display()

    @admin.display(description="took")
    def took(self, row: StepRun) -> str:
        return _took(row.started_at, row.finished_at)


class SagaFilter(admin.SimpleListFilter):
    """Names from the registry: asking the table for its distinct ones would read all of it."""

    title, parameter_name = "saga", "saga"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(saga.name, saga.name) for saga in registry.sagas()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(saga=self.value())


class SubscriptionFilter(admin.SimpleListFilter):
    """As above, for subscriptions."""

    title, parameter_name = "subscription", "subscription"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(subscription.name, subscription.name) for subscription in registry.subscriptions()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(subscription=self.value())


@admin.register(Run)
class RunAdmin(InspectAdmin):
    """Business processes under way and over."""

    list_display = ("saga", "key", "state", "started_at", "took", "due_at")
    list_display_links = ("saga", "key")
    list_filter = ("status", SagaFilter)
    search_fields = ("id", "key")
    search_help_text = "A whole run id or key (an order's id)."
    ordering = ("-pk",)
    inlines = (StepInline,)
    fields = (
        ("saga", "state"),
        "key",
        "attention",
        "failure",
        "failed_tries",
        ("started_at", "finished_at"),
        ("took", "deadline_at"),
        ("due_at", "resent"),
        "results",
        "input",
        "id",
        "event_id",
        "correlation_id",
        ("epoch", "place"),
        "definition_hash",
    )
    readonly_fields = ("state", "took", "failed_tries")

    @labelled("status", _RUN_LABELS)
    def state(self, run: Run) -> str:
        return run.get_status_display()

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        return _took(run.started_at, run.finished_at)

    @admin.display(description="failed tries")
    def failed_tries(self, run: Run) -> SafeString:
        return _tried(Attempt.objects.filter(step__run=run).select_related("step").order_by("failed_at"))


class RelayedFilter(admin.SimpleListFilter):
    """Events the relay has not taken on; an index holds only those."""

    title, parameter_name = "relay", "relayed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Waiting for the relay")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(relayed_at=None) if self.value() == "no" else queryset


@admin.register(Event)
class EventAdmin(InspectAdmin):
    """The event log."""

    list_display = ("position", "type", "key", "occurred_at", "relayed_at")
    list_display_links = ("position", "type")
    list_filter = (RelayedFilter,)
    search_fields = ("position", "id", "key")
    search_help_text = "A whole position, event id or key (an order's id)."
    ordering = ("-position",)


@admin.register(Delivery)
class DeliveryAdmin(InspectAdmin):
    """Events owed to reactions. Parked ones ran out of tries and wait for a person."""

    list_display = ("id", "subscription", "event_type", "state", "attempts", "retry_at", "key", "fault")
    list_display_links = ("id", "subscription")
    list_filter = ("status", SubscriptionFilter)
    list_select_related = ("event",)
    search_fields = ("id", "event__key")
    search_help_text = "A whole delivery id or key (an order's id)."
    ordering = ("-pk",)
    actions = ("send_again",)
    exclude = ("lease_token",)
    readonly_fields = ("failed_tries",)

    @admin.display(description="event")
    def event_type(self, delivery: Delivery) -> str:
        return delivery.event.type

    @labelled("status", _DELIVERY_LABELS)
    def state(self, delivery: Delivery) -> str:
        return delivery.get_status_display()

    @admin.display(description="error")
    def fault(self, delivery: Delivery) -> str:
        return delivery.error[:80]

    @admin.display(description="failed tries")
    def failed_tries(self, delivery: Delivery) -> SafeString:
        return _tried(delivery.tries.order_by("failed_at"))

    def has_redrive_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sagas.change_delivery")

    @admin.action(description="Send again", permissions=["redrive"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        parked = list(queryset.filter(status=DeliveryStatus.PARKED).values_list("pk", flat=True))
        tasks.send(owed=deliveries.redrive(delivery_ids=parked, now=clock.now()))
        said = f"{len(parked)} sent again." if parked else "None of these is parked; nothing was sent."
        self.message_user(request, said, messages.SUCCESS if parked else messages.WARNING)
