"""The buttons of actions, and the pages that have them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString

from backoffice.inspect import InspectAdmin
from backoffice.moments import moment

from ..core.statuses import Action
from ..db import clock
from ..models import Intervention
from ..operations import subjects, work_queue
from ..operations.operation import Operation
from ..operations.subject import Subject, Summary

Kind = type[Subject[Any]]


@dataclass(frozen=True, kw_only=True)
class Button:
    """A link to the form of an action."""

    action: Action
    label: str
    url: str
    means: str


def may_see(request: Any, kind: Kind) -> bool:
    return any(request.user.has_perm(kind.permission(verb)) for verb in ("view", "change"))


def may_act(request: Any, kind: Kind) -> bool:
    return bool(request.user.has_perm(kind.permission("change")))


def may_see_queue(request: Any) -> bool:
    """Say whether the user may see some part of the work queue."""
    return any(may_see(request, kind) for kind in work_queue.kinds())


def buttons(request: HttpRequest, shown: Summary, *, back: str = "") -> list[Button]:
    """Return a button for each action this user may do to a subject now."""
    kind = subjects.KINDS[shown.kind]
    if not may_act(request, kind):
        return []
    return [
        Button(
            action=action,
            label=operation.display_name,
            url=form_url(action, pick=[shown.pick], back=back or request.get_full_path()),
            means=operation.description,
        )
        for action in shown.actions
        if (operation := kind.operation(action)) is not None
    ]


def buttons_of_key(request: HttpRequest, key: str, *, back: str) -> list[tuple[Summary, list[Button]]]:
    """Return a button for each action this user may do to the open runs and parked deliveries of a key."""
    if not any(may_act(request, kind) for kind in work_queue.kinds()):
        return []
    shown = subjects.summaries(work_queue.of_key(key), now=clock.now())
    return [(each, found) for each in shown if (found := buttons(request, each, back=back))]


def form_url(action: str, **more: Any) -> str:
    return f"{reverse('admin:sagas_intervene')}?{urlencode({'action': str(action)} | more, doseq=True)}"


def back_to(request: HttpRequest, wanted: str, *, otherwise: str) -> str:
    """Return the address the user came from, if it is one of ours."""
    is_safe = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, {request.get_host()})
    return wanted if is_safe else reverse(otherwise)


def _sentence(asked: Intervention) -> str:
    at = f" at {asked.applied_to}" if asked.applied_to else ""
    outcome = f". {asked.outcome}" if asked.outcome else ""
    return f"{asked.by}: {asked.action}{at}, {asked.status}. {asked.reason}{outcome}"


def _to_form(operation: Operation[Any]) -> Callable[..., HttpResponseBase]:
    """Return the list's action: it leads to the form, with the rows selected or with all that match."""

    @admin.action(description=operation.display_name, permissions=["intervene"])
    def lead(model_admin: "ActAdmin", request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        return model_admin.to_form(request, queryset, operation.action)

    lead.__name__ = str(operation.action)
    return lead


def actions_of(kind: Kind) -> tuple[Callable[..., HttpResponseBase], ...]:
    return tuple(_to_form(operation) for operation in kind.operations)


class ActAdmin(InspectAdmin):
    """Rows that people act on: by buttons on the page of a row, by actions in the list.

    Attributes:
        kind: kind of subject that these rows are.
        filters: the list's filters, by the name of the field of `Filter`.
    """

    kind: ClassVar[Kind]
    filters: ClassVar[dict[str, str]] = {}
    change_form_outer_before_template = "sagas/_buttons.html"

    def has_intervene_permission(self, request: HttpRequest) -> bool:
        return may_act(request, self.kind)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        shown = [] if row is None else subjects.summaries([row], now=clock.now())
        found = {"buttons": [button for each in shown for button in buttons(request, each)]}
        return super().change_view(request, object_id, form_url, found | (extra_context or {}))

    @admin.display(description="interventions")
    def interventions(self, row: Model) -> SafeString:
        """Return the interventions on it."""
        found = Intervention.objects.filter(kind=self.kind.kind, subject_id=str(row.pk)).order_by("pk")
        rows = [
            (reverse("admin:sagas_intervention_change", args=[each.pk]), moment(each.asked_at), each) for each in found
        ]
        return format_html_join(
            "",
            '<p><a class="underline" href="{}">{}</a> {}</p>',
            ((url, at, _sentence(each)) for url, at, each in rows),
        ) or SafeString("None.")

    def to_form(self, request: HttpRequest, queryset: QuerySet[Model], action: Action) -> HttpResponseBase:
        from .intervene_page import InterveneView  # it needs the buttons

        kind, back = self.kind.kind, request.get_full_path()
        if request.POST.get("select_across") != "1":
            query = QueryDict(mutable=True)
            query.update({"action": str(action), "back": back})
            query.setlist("pick", [f"{kind}:{row.pk}@{subjects.of(row).version_token}" for row in queryset])
            return InterveneView.as_view(query=query)(request)
        asked = {name: value for name, value in request.GET.items() if value and name not in ("p", "o", "_changelist")}
        if unknown := asked.keys() - self.filters.keys():
            said = f"All that match {', '.join(sorted(unknown))} cannot be meant at once; select them a page at a time."
            self.message_user(request, said, messages.ERROR)
            return HttpResponseRedirect(back)
        meant = {"all": "1", "kind": kind} | {self.filters[name]: value for name, value in asked.items()}
        return HttpResponseRedirect(form_url(action, **meant, back=back))
