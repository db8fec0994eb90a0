"""Interventions in the admin, read only; and the URLs of the pages that make them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache

from backoffice import keys
from backoffice.inspect import InspectAdmin, labelled
from backoffice.moments import moment

from ..models import Intervention
from ..operations import replays, subjects
from .batch_page import BatchPartView, BatchView
from .intervene_page import InterveneView
from .parts import as_json
from .queue_page import QueueView

_COLOURS = {"pending": "info", "done": "success", "refused": "danger"}


@admin.register(Intervention)
class InterventionAdmin(InspectAdmin):
    """Interventions."""

    key_field = "key"
    list_display = ("asked_at", "by", "action", "about", "subject", "applied_to", "state", "why", "outcome")
    list_display_links = ("asked_at",)
    list_filter = ("status", "action")
    search_fields = ("by", "batch", "key", "subject_id")
    search_help_text = keys.searched("user name", "batch id", "id of the subject")
    ordering = ("-pk",)
    fields = (
        ("action", "state"),
        ("about", "subject"),
        "applied_to",
        "reason",
        "outcome",
        "result_json",
        "replayed",
        "by",
        ("asked_at", "done_at"),
        ("batch", "version_token"),
    )
    readonly_fields = ("state", "subject", "result_json", "replayed")

    @admin.display(description="range", empty_value="-")
    def replayed(self, row: Intervention) -> str | None:
        if row.replay is None:
            return None
        far = replays.progress(row)
        since, until = (datetime.fromisoformat(row.replay[name]) for name in ("since", "until"))
        done = f"{far.done:,} of {far.total:,} events done"
        return f"{moment(since)} until {moment(until)}; {done}"

    @admin.display(description="result")
    def result_json(self, row: Intervention) -> SafeString:
        return as_json(row.result)

    @admin.display(description="on")
    def subject(self, row: Intervention) -> SafeString | str:
        kind = subjects.KINDS.get(row.kind)
        text = row.subject_id if len(row.subject_id) < len(row.key) or not row.key else ""
        if kind is None:
            return f"{row.kind} {row.subject_id}"
        return format_html(
            '<a class="underline" href="{}">{}</a>', kind.page_url(row.subject_id), f"{row.kind} {text}".strip()
        )

    @labelled("status", _COLOURS)
    def state(self, row: Intervention) -> str:
        return row.get_status_display()

    @admin.display(description="reason")
    def why(self, row: Intervention) -> str:
        return row.reason[:80]

    def get_urls(self) -> list[Any]:
        def page(view: Callable[..., HttpResponseBase]) -> Any:
            return self.admin_site.admin_view(never_cache(view))

        return [
            path("queue/", page(QueueView.as_view()), name="sagas_queue"),
            path("intervene/", page(InterveneView.as_view()), name="sagas_intervene"),
            path("batch/<uuid:batch_id>/", page(BatchView.as_view()), name="sagas_batch"),
            path("batch/<uuid:batch_id>/part/", page(BatchPartView.as_view()), name="sagas_batch_part"),
            *super().get_urls(),
        ]
