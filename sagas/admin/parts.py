"""Parts that several pages of the engine share."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from backoffice.moments import moment

from ..core import registry
from ..models import Attempt


def took(start: datetime | None, end: datetime | None) -> str:
    return "-" if start is None or end is None else f"{(end - start).total_seconds():.3f} s"


def failed_tries(attempts: Iterable[Attempt]) -> SafeString:
    """Return failed tries as a list, each with its traceback in a collapsed block."""
    rows = [(moment(attempt.failed_at), attempt.kind, attempt, attempt.traceback) for attempt in attempts]
    return format_html_join(
        "",
        '<details style="margin-bottom:.75rem"><summary>{} · {} · {}</summary>'
        '<pre style="overflow-x:auto;white-space:pre">{}</pre></details>',
        rows,
    ) or SafeString("None failed.")


def as_json(value: Any) -> SafeString:
    """Return JSON with its letters as they are; a dash for none."""
    if value is None:
        return SafeString("-")
    shown = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre style="white-space:pre-wrap;overflow-wrap:anywhere">{}</pre>', shown)


class SagaFilter(admin.SimpleListFilter):
    """Names of sagas from the registry: to read the distinct names from the table would be to read all of it."""

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
