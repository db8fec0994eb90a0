"""Findings of the reconciliation: the remedy of each, and the form that dismisses them."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.generic import FormView
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from backoffice import keys
from backoffice.inspect import InspectAdmin, labelled

from ..books import reconciliation
from ..core import registry
from ..core.statuses import FindingStatus
from ..db import clock
from ..models import Finding
from .buttons import back_to, buttons_of_key

_COLOURS = {"open": "danger", "cleared": "success", "dismissed": "warning"}
#: More ids do not fit into an address, and a person does not read more findings before dismissing them.
_MAX_DISMISSED = 200


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """The remedy of a finding, and the page on which to apply it; empty where the check names none."""

    text: str
    url: str


def remedy_of(finding: Finding) -> Remedy:
    check = registry.check(finding.check_name)
    if check is None:
        return Remedy(text="", url="")
    return Remedy(text=check.remedy, url=_url(check.remedy_page) or _url(check.page, finding.key))


def _url(name: str, *args: str) -> str:
    try:
        return reverse(name, args=args) if name else ""
    except NoReverseMatch:
        return ""


class FindingStatusFilter(admin.SimpleListFilter):
    """By status; open findings by default."""

    title, parameter_name = "status", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("cleared", "Cleared"), ("dismissed", "Dismissed"), ("all", "All")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Open"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() == "all" else queryset.filter(status=self.value() or FindingStatus.OPEN)


class CheckFilter(admin.SimpleListFilter):
    """Names of checks, from the registry."""

    title, parameter_name = "check", "check"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in (*(check.name for check in registry.checks()), reconciliation.BROKEN)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(check_name=self.value())


@admin.register(Finding)
class FindingAdmin(InspectAdmin):
    """A breach of what should be true of the books. It is cleared when it is true again, or dismissed by a person."""

    key_field = "key"
    list_display = ("said", "about", "check_name", "state", "found_at", "last_seen_at")
    list_display_links = ("said",)
    list_filter = (FindingStatusFilter, CheckFilter)
    search_fields = ("key",)
    search_help_text = keys.searched()
    ordering = ("-pk",)
    actions = ("dismiss_selected",)
    actions_detail = ("dismiss_this",)
    change_form_outer_before_template = "sagas/_buttons.html"
    fields = (
        "message",
        "what_to_do",
        ("check_name", "state"),
        "about",
        "figures",
        ("found_at", "last_seen_at"),
        "cleared_at",
        ("dismissed_at", "dismissed_by"),
        "dismissed_reason",
    )
    readonly_fields = ("state", "figures", "what_to_do")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        finding = self.get_object(request, object_id)
        acts = [] if finding is None else buttons_of_key(request, finding.key, back=request.get_full_path())
        found = {"buttons": [button for _, buttons in acts for button in buttons]}
        return super().change_view(request, object_id, form_url, found | (extra_context or {}))

    @admin.display(description="finding")
    def said(self, finding: Finding) -> SafeString:
        return format_html('<span class="saga-wrap">{}</span>', finding.message)

    @labelled("status", _COLOURS)
    def state(self, finding: Finding) -> str:
        return finding.get_status_display()

    @admin.display(description="what to do", empty_value="-")
    def what_to_do(self, finding: Finding) -> SafeString | str | None:
        remedy = remedy_of(finding)
        if not remedy.url:
            return remedy.text or None
        text = remedy.text or "Look at what it is about."
        return format_html('{} <a class="underline" href="{}">Go there</a>', text, remedy.url)

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
        open_ = Finding.objects.filter(status=FindingStatus.OPEN)
        return request.user.has_perm("sagas.change_finding") and (
            object_id is None or open_.filter(pk=object_id).exists()
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(DismissView.as_view())
        return [path("dismiss/", view, name="sagas_finding_dismiss"), *super().get_urls()]

    @admin.action(description="Dismiss", permissions=["dismiss"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Finding]) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: _MAX_DISMISSED + 1])
        if len(ids) <= _MAX_DISMISSED:
            return _ask_why(ids)
        self.message_user(request, f"Choose at most {_MAX_DISMISSED} at once.", messages.WARNING)
        return None

    @action(description="Dismiss", permissions=["dismiss"], url_path="dismiss-this")  # type: ignore[untyped-decorator]
    def dismiss_this(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return _ask_why([object_id])


def _ask_why(ids: list[int]) -> HttpResponse:
    chosen = urlencode({"id": ids}, doseq=True)
    return HttpResponseRedirect(f"{reverse('admin:sagas_finding_dismiss')}?{chosen}")


class DismissForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        label="Why is it all right?",
        error_messages={"required": "A reason is needed."},
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}),
    )


if TYPE_CHECKING:
    _Form = FormView[DismissForm]
else:
    _Form = FormView


class DismissView(PermissionRequiredMixin, _Form):
    """Asks for a reason, then dismisses the chosen findings that are still open."""

    template_name = "sagas/dismiss.html"
    form_class = DismissForm
    permission_required = "sagas.change_finding"
    raise_exception = True

    @property
    def ids(self) -> list[int]:
        return [int(pk) for pk in self.request.GET.getlist("id") if pk.isascii() and pk.isdigit() and len(pk) < 19]

    @property
    def back(self) -> str:
        return back_to(self.request, self.request.GET.get("back", ""), otherwise="admin:sagas_finding_changelist")

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        found = Finding.objects.filter(pk__in=self.ids[:_MAX_DISMISSED], status=FindingStatus.OPEN).order_by("pk")
        return super().get_context_data(
            **admin.site.each_context(self.request), title="Dismiss findings", findings=found, back=self.back, **more
        )

    def form_valid(self, form: DismissForm) -> HttpResponse:
        by = cast("Any", self.request.user).get_username()
        dismissed = reconciliation.dismiss(
            finding_ids=self.ids, by=by, reason=form.cleaned_data["reason"], now=clock.now()
        )
        if dismissed:
            messages.success(self.request, f"{dismissed} dismissed.")
        else:
            messages.warning(self.request, "None of these is open any more; nothing was dismissed.")
        return HttpResponseRedirect(self.back)


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return facts as names and texts for people, short facts first."""
    shown = registry.shown_facts(facts).items()
    first = sorted(shown, key=lambda fact: (isinstance(fact[1], list), fact[0].endswith("_id")))
    return [(name.replace("_", " "), _shown(value)) for name, value in first]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return "\n".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)
