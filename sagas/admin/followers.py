"""Followers of the log in the admin, each with how far it is behind."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

from backoffice.inspect import LabelledList, labelled

from ..db import clock
from ..models import Follower
from ..operations import queries
from ..operations.followers import FollowerSubject
from .act_admin import ActAdmin

_COLOURS = {
    "following": "success",
    "catching up": "info",
    "paused": "warning",
    "unknown": "danger",
    "stopped": "danger",
    "switched off here, owing": "danger",
}


class FollowerList(LabelledList):
    """Followers, each with how far it is behind."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        lags = {lag.name: lag for lag in queries.followers(now=clock.now())}
        for follower in self.result_list:
            follower.lag = lags.get(follower.name)


@admin.register(Follower)
class FollowerAdmin(ActAdmin):
    """The followers of the event log, and their positions."""

    kind = FollowerSubject
    list_display = ("name", "state", "events", "waiting", "parked", "seconds")
    list_display_links = ("name",)
    search_fields = ("name",)
    search_help_text = "A whole name."
    ordering = ("name",)
    fields = (
        "name",
        ("state", "paused_at"),
        "error",
        ("events", "waiting"),
        ("parked", "seconds"),
        ("position", "began_at"),
        "interventions",
    )
    readonly_fields = ("state", "events", "waiting", "parked", "seconds", "interventions")

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return FollowerList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        follower = super().get_object(request, object_id, from_field)
        if follower is not None:
            lags = queries.followers(now=clock.now())
            follower.lag = next((lag for lag in lags if lag.name == follower.name), None)
        return follower

    @labelled("status", _COLOURS)
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
