"""Findings of the reconciliation in the admin, and the form that dismisses them."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action

from backoffice.inspect import InspectAdmin, labelled
from backoffice.money import formatted

from ..books import reconciliation
from ..core import registry
from ..db import clock
from ..models import Finding
from . import work_pages

_FINDING_LABELS = {"open": "danger", "cleared": "success", "dismissed": "warning"}
#: More do not fit into an address, and nobody reads them before dismissing them.
_MAX_DISMISSED = 200


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
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: _MAX_DISMISSED + 1])
        if len(ids) <= _MAX_DISMISSED:
            return self._ask_why(ids)
        self.message_user(request, f"Choose at most {_MAX_DISMISSED} at once.", messages.WARNING)
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
        back = work_pages.back_to(request, request.GET.get("back", ""), otherwise="admin:sagas_finding_changelist")
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
            "findings": Finding.objects.filter(pk__in=ids[:_MAX_DISMISSED], status=Finding.Status.OPEN).order_by("pk"),
            "missing": request.method == "POST",
            "back": back,
        }
        return TemplateResponse(request, "sagas/dismiss.html", context)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return facts as people read them: amounts as money, short ones first."""
    currency = facts.get("currency", "")
    rows = []
    for name, value in sorted(facts.items(), key=lambda fact: (isinstance(fact[1], list), fact[0].endswith("_id"))):
        shown = _amounts(value, currency) if name.endswith("_minor") else _shown(value)
        rows.append((name.removesuffix("_minor").replace("_", " "), shown))
    return rows


def _amounts(value: Any, currency: str) -> str:
    """Return an amount, or amounts by their own currencies."""
    if isinstance(value, dict):
        return ", ".join(_amounts(minor, code) for code, minor in value.items()) or "none"
    return formatted(value, currency) if isinstance(value, int) else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return "\n".join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)
