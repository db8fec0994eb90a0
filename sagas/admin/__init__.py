"""The journal, the event log and what is owed, to look at; what people may do leads to one form."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache

from backoffice.inspect import InspectAdmin, InspectInline, labelled
from backoffice.moments import moment

from ..core import registry
from ..db import clock
from ..log.cloudevents import envelope
from ..models import Attempt, Delivery, Event, Follower, Intervention, Run, StepRun
from ..operations import interventions, queries, replays, work_queue
from ..operations.interventions import MEANS, MEANS_FOR_DELIVERY, Action
from . import (
    audit_trail,  # noqa: F401 - registers its page
    findings,  # noqa: F401 - registers its page
    work_pages,
)

_RUN_LABELS = {
    "running": "info",
    "paused": "warning",
    "undoing": "warning",
    "completed": "success",
    "undone": "warning",
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
_DELIVERY_LABELS = {"pending": "info", "running": "info", "done": "success", "parked": "danger", "failed": "warning"}
_INTERVENTION_LABELS = {"Pending": "info", "Done": "success", "Refused": "danger"}


def _took(start: datetime | None, end: datetime | None) -> str:
    return "-" if start is None or end is None else f"{(end - start).total_seconds():.3f} s"


def _tried(attempts: Iterable[Attempt]) -> SafeString:
    """Return failed tries as a list, each with its traceback folded in."""
    rows = [(moment(attempt.failed_at), attempt.kind, attempt, attempt.traceback) for attempt in attempts]
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


class InterventionInline(InspectInline):
    """What people did to a run."""

    model = Intervention
    fields = ("asked_at", "by", "action", "step", "reason", "status", "outcome")
    readonly_fields = fields
    ordering = ("pk",)
    verbose_name_plural = "interventions"
    hide_title = True


def _to_form(action: Action) -> Callable[..., HttpResponse]:
    """Return the list's action: it leads to the form, with the rows selected or with all that match."""

    @admin.action(description=action.label, permissions=["intervene"])
    def lead(model_admin: "ActAdmin", request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return model_admin.to_form(request, queryset, action)

    lead.__name__ = str(action)
    return lead


class ActAdmin(InspectAdmin):
    """Rows a person may do something to: by buttons on the page of one, by actions in the list."""

    change_form_outer_before_template = "sagas/_buttons.html"
    #: The list's filters, as the work queue calls them.
    filters: dict[str, str] = {}

    def has_intervene_permission(self, request: HttpRequest) -> bool:
        return work_pages.may_change(request, str(self.opts.model_name))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        shown = [] if row is None else work_queue.facts([row], now=clock.now())
        found = {"buttons": [button for each in shown for button in work_pages.buttons(request, each)]}
        return super().change_view(request, object_id, form_url, found | (extra_context or {}))

    def to_form(self, request: HttpRequest, queryset: QuerySet[Any], action: Action) -> HttpResponse:
        kind, back = str(self.opts.model_name), request.get_full_path()
        if request.POST.get("select_across") != "1":
            query = QueryDict(mutable=True)
            query.update({"action": str(action), "back": back})
            query.setlist("pick", [f"{kind}:{row.pk}@{interventions.seen(row)}" for row in queryset])
            return work_pages.show_form(request, query)
        asked = {name: value for name, value in request.GET.items() if value and name not in ("p", "o", "_changelist")}
        if unknown := asked.keys() - self.filters.keys():
            said = f"All that match {', '.join(sorted(unknown))} cannot be meant at once; select them a page at a time."
            self.message_user(request, said, messages.ERROR)
            return HttpResponseRedirect(back)
        meant = {"all": "1", "kind": kind} | {self.filters[name]: value for name, value in asked.items()}
        return HttpResponseRedirect(work_pages.form_url(action, **meant, back=back))


@admin.register(Run)
class RunAdmin(ActAdmin):
    """Business processes under way and over."""

    list_display = ("saga", "key", "state", "started_at", "took", "due_at")
    list_display_links = ("saga", "key")
    list_filter = ("status", SagaFilter)
    search_fields = ("id", "key")
    search_help_text = "A whole run id or key (an order's id)."
    ordering = ("-pk",)
    inlines = (StepInline, InterventionInline)
    actions = tuple(_to_form(action) for action in MEANS)
    filters = {"status__exact": "status", "saga": "process", "q": "key"}
    fields = (
        ("saga", "state"),
        "key",
        "attention",
        "failure",
        "failed_tries",
        ("started_at", "finished_at"),
        ("took", "deadline_at"),
        ("due_at", "resends"),
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
        return queryset.filter(log_position=None) if self.value() == "no" else queryset


@admin.register(Event)
class EventAdmin(InspectAdmin):
    """The event log."""

    list_display = ("position", "type", "key", "occurred_at", "relayed_at")
    list_display_links = ("position", "type")
    list_filter = (RelayedFilter,)
    search_fields = ("position", "id", "key")
    search_help_text = "A whole position, event id or key (an order's id)."
    ordering = ("-position",)
    fields = (
        ("type", "version"),
        ("position", "log_position"),
        ("aggregate", "sequence"),
        "subject",
        "key",
        ("occurred_at", "relayed_at"),
        "what",
        ("correlation_id", "causation_id"),
        ("traceparent", "low_priority"),
        "as_others_receive_it",
    )
    readonly_fields = ("position", "log_position", "what", "as_others_receive_it")

    @admin.display(description="data")
    def what(self, event: Event) -> SafeString:
        return _json(event.data)

    @admin.display(description="as others receive it", empty_value="")
    def as_others_receive_it(self, event: Event) -> SafeString:
        return _json(envelope(event))


def _json(value: Any) -> SafeString:
    shown = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre style="white-space:pre-wrap;overflow-wrap:anywhere">{}</pre>', shown)


@admin.register(Delivery)
class DeliveryAdmin(ActAdmin):
    """Events owed to reactions. Parked ones ran out of tries and wait for a person."""

    list_display = ("id", "subscription", "event_type", "state", "attempts", "retry_at", "key", "fault")
    list_display_links = ("id", "subscription")
    list_filter = ("status", SubscriptionFilter)
    list_select_related = ("event",)
    search_fields = ("id", "event__key")
    search_help_text = "A whole delivery id or key (an order's id)."
    ordering = ("-pk",)
    actions = tuple(_to_form(action) for action in MEANS_FOR_DELIVERY)
    filters = {"status__exact": "status", "subscription": "process", "q": "key"}
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


class FollowerList(ChangeList):
    """Followers, each with how far it is behind."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        lags = {lag.name: lag for lag in queries.followers(now=clock.now())}
        for follower in self.result_list:
            follower.lag = lags.get(follower.name)


@admin.register(Follower)
class FollowerAdmin(ActAdmin):
    """Who follows the event log, and how far each has come."""

    list_display = ("name", "state", "events", "waiting", "parked", "seconds")
    list_display_links = ("name",)
    search_fields = ("name",)
    search_help_text = "A whole name."
    ordering = ("name",)
    inlines = (InterventionInline,)
    fields = (
        "name",
        ("state", "paused_at"),
        "error",
        ("events", "waiting"),
        ("parked", "seconds"),
        ("position", "began_at"),
    )
    readonly_fields = ("state", "events", "waiting", "parked", "seconds")

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return FollowerList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        follower = super().get_object(request, object_id, from_field)
        if follower is not None:
            lags = queries.followers(now=clock.now())
            follower.lag = next((lag for lag in lags if lag.name == follower.name), None)
        return follower

    @labelled(
        "status",
        {
            "following": "success",
            "catching up": "info",
            "paused": "warning",
            "unknown": "danger",
            "stopped": "danger",
            "switched off here, owing": "danger",
        },
    )
    def state(self, follower: Any) -> str:
        return str(follower.lag.status)

    @admin.display(description="events to come")
    def events(self, follower: Any) -> str:
        return f"{follower.lag.events:,}"

    @admin.display(description="deliveries that wait")
    def waiting(self, follower: Any) -> str:
        return f"{follower.lag.waiting:,}"

    @admin.display(description="parked")
    def parked(self, follower: Any) -> str:
        return f"{follower.lag.parked:,}"

    @admin.display(description="oldest waits for")
    def seconds(self, follower: Any) -> str:
        return f"{follower.lag.seconds:,.0f} s" if follower.lag.seconds else "-"


@admin.register(Intervention)
class InterventionAdmin(InspectAdmin):
    """What people did, to look at; and the pages on which they do it."""

    list_display = ("asked_at", "by", "action", "subject", "step", "state", "why", "outcome")
    list_display_links = ("asked_at",)
    list_filter = ("status", "action")
    list_select_related = ("run", "delivery", "follower")
    search_fields = ("by", "batch", "run__key", "delivery__event__key")
    search_help_text = "A whole user name, batch id or key (an order's id)."
    ordering = ("-pk",)
    fields = (
        ("action", "state"),
        "subject",
        "step",
        "reason",
        "outcome",
        "result",
        "replayed",
        "by",
        ("asked_at", "done_at"),
        ("batch", "seen"),
    )
    readonly_fields = ("state", "subject", "replayed")

    @admin.display(description="range", empty_value="-")
    def replayed(self, row: Intervention) -> str | None:
        if row.replay is None:
            return None
        seen = f"{replays.progress(row).done:,} of {replays.progress(row).total:,} events gone through"
        since, until = (datetime.fromisoformat(row.replay[name]) for name in ("since", "until"))
        return f"{moment(since)} until {moment(until)}; {seen}"

    @admin.display(description="on")
    def subject(self, row: Intervention) -> SafeString | str:
        subjects = {"run": row.run, "delivery": row.delivery, "follower": row.follower}
        kind, on = next(((kind, on) for kind, on in subjects.items() if on is not None), ("", None))
        return format_html('<a href="{}">{}</a>', reverse(f"admin:sagas_{kind}_change", args=[on.pk]), on) if on else ""

    @labelled("status", _INTERVENTION_LABELS)
    def state(self, row: Intervention) -> str:
        return row.get_status_display()

    @admin.display(description="reason")
    def why(self, row: Intervention) -> str:
        return row.reason[:80]

    def get_urls(self) -> list[Any]:
        def page(view: Callable[..., HttpResponse]) -> Any:
            return self.admin_site.admin_view(never_cache(view))

        return [
            path("queue/", page(work_pages.queue), name="sagas_queue"),
            path("intervene/", page(work_pages.intervene), name="sagas_intervene"),
            path("batch/<uuid:batch_id>/", page(work_pages.batch), name="sagas_batch"),
            path("batch/<uuid:batch_id>/part/", page(work_pages.batch_part), name="sagas_batch_part"),
            *super().get_urls(),
        ]
