"""The journal, the event log, what is owed and what was found, to look at; what people may do leads to one form."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from unfold.decorators import action

from . import (
    auditpage,  # noqa: F401 - registers its page
    clock,
    interventions,
    reconciliation,
    registry,
    replays,
    selectors,
    workpages,
    workqueue,
)
from .backoffice import InspectAdmin, InspectInline, amount, labelled
from .cloudevents import envelope
from .interventions import MEANS, MEANS_FOR_DELIVERY, Action
from .models import Attempt, Delivery, Event, Finding, Follower, Intervention, Run, StepRun

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
_DELIVERY_LABELS = {"pending": "info", "running": "info", "done": "success", "parked": "danger", "failed": "warning"}
_INTERVENTION_LABELS = {"Pending": "info", "Done": "success", "Refused": "danger"}


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
        return workpages.may_change(request, str(self.opts.model_name))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        shown = [] if row is None else workqueue.facts([row], now=clock.now())
        found = {"buttons": [button for each in shown for button in workpages.buttons(request, each)]}
        return super().change_view(request, object_id, form_url, found | (extra_context or {}))

    def to_form(self, request: HttpRequest, queryset: QuerySet[Any], action: Action) -> HttpResponse:
        kind, back = str(self.opts.model_name), request.get_full_path()
        if request.POST.get("select_across") != "1":
            query = QueryDict(mutable=True)
            query.update({"action": str(action), "back": back})
            query.setlist("pick", [f"{kind}:{row.pk}@{interventions.seen(row)}" for row in queryset])
            return workpages.show_form(request, query)
        asked = {name: value for name, value in request.GET.items() if value and name not in ("p", "o", "_changelist")}
        if unknown := asked.keys() - self.filters.keys():
            said = f"All that match {', '.join(sorted(unknown))} cannot be meant at once; select them a page at a time."
            self.message_user(request, said, messages.ERROR)
            return HttpResponseRedirect(back)
        meant = {"all": "1", "kind": kind} | {self.filters[name]: value for name, value in asked.items()}
        return HttpResponseRedirect(workpages.form_url(action, **meant, back=back))


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
        ("traceparent", "bulk"),
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
        lags = {lag.name: lag for lag in selectors.followers(now=clock.now())}
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
            lags = selectors.followers(now=clock.now())
            follower.lag = next((lag for lag in lags if lag.name == follower.name), None)
        return follower

    @labelled(
        "status",
        {"following": "success", "catching up": "info", "paused": "warning", "unknown": "danger", "stopped": "danger"},
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


_FINDING_LABELS = {"open": "danger", "cleared": "success", "dismissed": "warning"}
#: More do not fit into an address, and nobody reads them before dismissing them.
_MOST_DISMISSED = 200


class FindingStatusFilter(admin.SimpleListFilter):
    """Open ones, unless somebody asks for others."""

    title, parameter_name = "status", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("cleared", "Cleared"), ("dismissed", "Dismissed"), ("all", "All")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Open"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() == "all" else queryset.filter(status=self.value() or Finding.Status.OPEN)


class CheckFilter(admin.SimpleListFilter):
    """Names from the registry."""

    title, parameter_name = "check", "check"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in (*(check.name for check in registry.checks()), reconciliation.BROKEN)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(check_name=self.value())


@admin.register(Finding)
class FindingAdmin(InspectAdmin):
    """What should be true of the books and is not. It clears itself once it is, or a person dismisses it."""

    list_display = ("said", "check_name", "state", "found_at", "last_seen_at")
    list_display_links = ("said",)
    list_filter = (FindingStatusFilter, CheckFilter)
    search_fields = ("key",)
    search_help_text = "A whole key: an order's id, a SKU, a customer's e-mail."
    ordering = ("-pk",)
    actions = ("dismiss_selected",)
    actions_detail = ("dismiss_this",)
    fields = (
        "message",
        ("check_name", "state"),
        "about",
        "figures",
        ("found_at", "last_seen_at"),
        "cleared_at",
        ("dismissed_at", "dismissed_by"),
        "dismissed_reason",
    )
    readonly_fields = ("state", "about", "figures")

    @admin.display(description="finding")
    def said(self, finding: Finding) -> SafeString:
        return format_html('<span style="white-space:normal;overflow-wrap:anywhere">{}</span>', finding.message)

    @labelled("status", _FINDING_LABELS)
    def state(self, finding: Finding) -> str:
        return finding.status

    @admin.display(description="about")
    def about(self, finding: Finding) -> SafeString | str:
        check = registry.check(finding.check_name)
        try:
            url = reverse(check.page, args=[finding.key]) if check is not None and check.page else ""
        except NoReverseMatch:
            url = ""
        link = format_html('<a href="{}" style="text-decoration:underline">{}</a>', url, finding.key)
        return link if url else finding.key

    @admin.display(description="facts")
    def figures(self, finding: Finding) -> SafeString:
        rows = format_html_join(
            "",
            '<tr><th scope="row" style="text-align:left;padding:.25rem 1rem .25rem 0;font-weight:400;'
            'vertical-align:top">{}</th>'
            '<td style="padding:.25rem 0;overflow-wrap:anywhere;font-weight:600;white-space:pre-line">{}</td></tr>',
            _rows(finding.facts),
        )
        return format_html("<table>{}</table>", rows)

    # Dismissing ---------------------------------------------------------------------------------------------------

    def has_dismiss_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        standing = Finding.objects.filter(status=Finding.Status.OPEN)
        return request.user.has_perm("sagas.change_finding") and (
            object_id is None or standing.filter(pk=object_id).exists()
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.dismiss_view)
        return [path("dismiss/", view, name="sagas_finding_dismiss"), *super().get_urls()]

    @admin.action(description="Dismiss", permissions=["dismiss"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: _MOST_DISMISSED + 1])
        if len(ids) <= _MOST_DISMISSED:
            return self._ask_why(ids)
        self.message_user(request, f"Choose at most {_MOST_DISMISSED} at once.", messages.WARNING)
        return None

    @action(description="Dismiss", permissions=["dismiss"], url_path="dismiss-this")  # type: ignore[untyped-decorator]
    def dismiss_this(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._ask_why([object_id])

    def _ask_why(self, ids: list[int]) -> HttpResponse:
        chosen = urlencode({"id": ids}, doseq=True)
        return HttpResponseRedirect(f"{reverse('admin:sagas_finding_dismiss')}?{chosen}")

    def dismiss_view(self, request: Any) -> HttpResponse:
        """Ask why, then dismiss what was chosen and is still open."""
        if not self.has_dismiss_permission(request):
            raise PermissionDenied
        ids = [int(pk) for pk in request.GET.getlist("id") if pk.isascii() and pk.isdigit() and len(pk) < 19]
        reason = request.POST.get("reason", "").replace("\x00", "").strip()
        back = workpages.back_to(request, request.GET.get("back", ""), otherwise="admin:sagas_finding_changelist")
        if request.method == "POST" and reason:
            dismissed = reconciliation.dismiss(
                finding_ids=ids, by=request.user.get_username(), reason=reason, now=clock.now()
            )
            said = f"{dismissed} dismissed." if dismissed else "None of these is open any more; nothing was dismissed."
            self.message_user(request, said, messages.SUCCESS if dismissed else messages.WARNING)
            return HttpResponseRedirect(back)
        context = self.admin_site.each_context(request) | {
            "title": "Dismiss findings",
            "opts": self.opts,
            "findings": Finding.objects.filter(pk__in=ids[:_MOST_DISMISSED], status=Finding.Status.OPEN).order_by("pk"),
            "missing": request.method == "POST",
            "back": back,
        }
        return TemplateResponse(request, "sagas/dismiss.html", context)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return facts as people read them: amounts in major units, short ones first."""
    currency = facts.get("currency", "")
    rows = []
    for name, value in sorted(facts.items(), key=lambda fact: (isinstance(fact[1], list), fact[0].endswith("_id"))):
        is_amount = name.endswith("_minor") and isinstance(value, int)
        shown = amount(value, currency).strip() if is_amount else _shown(value)
        rows.append((name.removesuffix("_minor").replace("_", " "), shown))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return "\n".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)


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
        return f"{since:%Y-%m-%d %H:%M:%S %Z} until {until:%Y-%m-%d %H:%M:%S %Z}; {seen}"

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
            path("queue/", page(workpages.queue), name="sagas_queue"),
            path("intervene/", page(workpages.intervene), name="sagas_intervene"),
            path("batch/<uuid:batch_id>/", page(workpages.batch), name="sagas_batch"),
            path("batch/<uuid:batch_id>/part/", page(workpages.batch_part), name="sagas_batch_part"),
            *super().get_urls(),
        ]
