"""The base of the admin of rows that people act on."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from backoffice.inspect import InspectAdmin
from backoffice.moments import moment

from ..core.statuses import Action
from ..db import clock
from ..models import Intervention
from ..operations import subjects
from ..operations.operation import Operation
from .buttons import SubjectKind, buttons, form_url, may_act
from .intervene_page import InterveneView


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


def actions_of(kind: SubjectKind) -> tuple[Callable[..., HttpResponseBase], ...]:
    return tuple(_to_form(operation) for operation in kind.operations)


class ActAdmin(InspectAdmin):
    """Rows that people act on: by buttons on the page of a row, by actions in the list.

    Attributes:
        kind: kind of subject that these rows are.
        filters: the list's filters, by the name of the field of `Filter`.
    """

    kind: ClassVar[SubjectKind]
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
