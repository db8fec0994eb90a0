"""The event log in the admin."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from backoffice import keys
from backoffice.inspect import InspectAdmin

from ..log.cloudevents import envelope
from ..models import Event
from .parts import as_json


class RelayedFilter(admin.SimpleListFilter):
    """Events that the relay has not taken yet; a partial index holds only those."""

    title, parameter_name = "relay", "relayed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Waiting for the relay")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(log_position=None) if self.value() == "no" else queryset


@admin.register(Event)
class EventAdmin(InspectAdmin):
    """The event log."""

    key_field = "key"
    list_display = ("position", "type", "about", "occurred_at", "relayed_at")
    list_display_links = ("position", "type")
    list_filter = (RelayedFilter,)
    search_fields = ("position", "id", "key")
    search_help_text = keys.searched("position", "event id")
    ordering = ("-position",)
    fields = (
        ("type", "version"),
        ("position", "log_position"),
        ("aggregate", "sequence"),
        ("about", "key"),
        "subject",
        ("occurred_at", "relayed_at"),
        "what",
        ("correlation_id", "causation_id"),
        ("traceparent", "low_priority"),
        "as_others_receive_it",
    )
    readonly_fields = ("position", "log_position", "what", "as_others_receive_it")

    @admin.display(description="data")
    def what(self, event: Event) -> SafeString:
        return as_json(event.data)

    @admin.display(description="as others receive it", empty_value="")
    def as_others_receive_it(self, event: Event) -> SafeString:
        return as_json(envelope(event))
