"""The audit trail in the admin."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from backoffice import keys
from backoffice.inspect import InspectAdmin, labelled

from ..core import registry
from ..models import AuditRecord

_LABELS = {"insert": "success", "update": "info", "delete": "danger", "truncate": "danger", "begin": "warning"}
#: Of a value, in a list.
_SHOWN = 40


class TableFilter(admin.SimpleListFilter):
    """By table. Lists the registered tables: the distinct names in the trail would need a read of all records."""

    title, parameter_name = "table", "table"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(table, table.partition("_")[2] or table) for table in sorted(registry.audited())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(table=self.value()) if self.value() else queryset


class EventFilter(admin.SimpleListFilter):
    """Changes without an event: made in the admin, by a command, or by SQL."""

    title, parameter_name = "made by", "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "without an event"), ("yes", "a service, with an event")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        without = {"no": queryset.filter(events=[]), "yes": queryset.exclude(events=[])}
        return without.get(self.value() or "", queryset)


@admin.register(AuditRecord)
class AuditRecordAdmin(InspectAdmin):
    """Changes of rows, whatever program made them."""

    key_field = "name"
    list_display = ("committed_at", "did", "table", "called", "what", "by", "tells")
    list_display_links = ("committed_at",)
    list_filter = (TableFilter, EventFilter)
    search_fields = ("row", "name", "by")
    search_help_text = keys.searched("id or name of a row", "name of a user")
    ordering = ("-id",)
    fields = (
        "table",
        ("called", "row"),
        "did",
        "differences",
        ("by", "history"),
        "tells",
        "committed_at",
        ("transaction_id", "lsn", "number"),
    )
    readonly_fields = ("did", "called", "differences", "tells", "history")

    @labelled("change", _LABELS)
    def did(self, record: AuditRecord) -> str:
        return record.action

    @admin.display(description="name")
    def called(self, record: AuditRecord) -> SafeString | str:
        return keys.link(record, "name") or record.row

    @admin.display(description="what")
    def what(self, record: AuditRecord) -> str:
        if record.action == "begin":
            return "The trail begins: what was changed before is not in it."
        if record.action != "update":
            return ""
        return ", ".join(
            f"{name}: {_brief(record.before.get(name))} → {_brief(value)}" for name, value in record.after.items()
        )

    @admin.display(description="values")
    def differences(self, record: AuditRecord) -> SafeString:
        names = sorted({*record.before, *record.after})
        rows = [(name, _value(record.before, name), _value(record.after, name)) for name in names]
        return format_html_join("", "<div><b>{}</b>: {} → {}</div>", rows)

    @admin.display(description="events of its transaction")
    def tells(self, record: AuditRecord) -> str:
        return ", ".join(record.events) or "none"

    @admin.display(description="Django's history", empty_value="-")
    def history(self, record: AuditRecord) -> SafeString | str | None:
        """Return Django's log entry of the same change, with a link to the history of its row."""
        entries = LogEntry.objects.select_related("content_type")
        entry = None if record.log_entry is None else entries.filter(pk=record.log_entry).first()
        if entry is None or entry.content_type is None:
            return None
        name = f"admin:{entry.content_type.app_label}_{entry.content_type.model}_history"
        try:
            url = reverse(name, args=[entry.object_id])
        except NoReverseMatch:
            return entry.get_change_message()
        return format_html('<a class="underline" href="{}">{}</a>', url, entry.get_change_message() or entry)


def _value(values: dict[str, str | None], name: str) -> str:
    return ("NULL" if values[name] is None else str(values[name])) if name in values else "-"


def _brief(value: str | None) -> str:
    if value is None:
        return "NULL"
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
