"""Runs in the admin."""

from django.contrib import admin
from django.utils.safestring import SafeString

from backoffice import keys
from backoffice.inspect import InspectInline, labelled

from ..models import Attempt, Run, StepRun
from ..operations.runs import RunSubject
from .act_admin import ActAdmin, actions_of
from .parts import SagaFilter, as_json, failed_tries, took

_RUN_COLOURS = {
    "running": "info",
    "paused": "warning",
    "undoing": "warning",
    "completed": "success",
    "undone": "warning",
    "needs attention": "danger",
}
_STEP_COLOURS = {
    "running": "info",
    "unknown": "warning",
    "done": "success",
    "failed": "danger",
    "undoing": "warning",
    "undone": "warning",
}


class StepInline(InspectInline):
    """The steps of a run in their order, then the steps of its undo."""

    model = StepRun
    fields = ("place", "name", "action", "state", "attempts", "started_at", "took", "held_until")
    readonly_fields = ("state", "took")
    ordering = ("place",)
    verbose_name_plural = "steps"
    hide_title = True

    @labelled("status", _STEP_COLOURS)
    def state(self, row: StepRun) -> str:
        return row.get_status_display()

    @admin.display(description="took")
    def took(self, row: StepRun) -> str:
        return took(row.started_at, row.finished_at)


@admin.register(Run)
class RunAdmin(ActAdmin):
    """Business processes, under way and ended."""

    kind = RunSubject
    key_field = "key"
    list_display = ("saga", "about", "state", "started_at", "took", "due_at")
    list_display_links = ("saga",)
    list_filter = ("status", SagaFilter)
    search_fields = ("id", "key")
    search_help_text = keys.searched("run id")
    ordering = ("-pk",)
    inlines = (StepInline,)
    actions = actions_of(RunSubject)
    filters = {"status__exact": "status", "saga": "process", "q": "key"}
    fields = (
        ("saga", "state"),
        ("about", "key"),
        "attention_json",
        "failure_json",
        "failed_tries",
        ("started_at", "finished_at"),
        ("took", "deadline_at"),
        ("due_at", "resends"),
        "results_json",
        "input_json",
        "id",
        "event_id",
        "correlation_id",
        ("epoch", "place"),
        "definition_hash",
        "interventions",
    )
    readonly_fields = (
        "state", "took", "failed_tries", "interventions", "attention_json", "failure_json", "results_json", "input_json"
    )  # fmt: skip

    @labelled("status", _RUN_COLOURS)
    def state(self, run: Run) -> str:
        return run.get_status_display()

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        return took(run.started_at, run.finished_at)

    @admin.display(description="failed tries")
    def failed_tries(self, run: Run) -> SafeString:
        return failed_tries(Attempt.objects.filter(step__run=run).select_related("step").order_by("failed_at"))

    @admin.display(description="attention")
    def attention_json(self, run: Run) -> SafeString:
        return as_json(run.attention)

    @admin.display(description="failure")
    def failure_json(self, run: Run) -> SafeString:
        return as_json(run.failure)

    @admin.display(description="results")
    def results_json(self, run: Run) -> SafeString:
        return as_json(run.results)

    @admin.display(description="input")
    def input_json(self, run: Run) -> SafeString:
        return as_json(run.input)
