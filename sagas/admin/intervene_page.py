"""The form behind every button: it says what will happen and asks for the reason; the POST does it.

A GET changes nothing. A list posts its picks here too, for many picks are too long for an address; without
the hidden field of the form, such a POST shows the form.
"""

import json
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.views.generic import FormView
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from ..core.ids import new_id
from ..core.statuses import InterventionStatus
from ..db import clock
from ..messaging import tasks
from ..models import Intervention
from ..operations import interventions, replays, subjects
from ..operations.subject import NotNow
from ..operations.summary import Summary
from .buttons import buttons
from .choice import Choice
from .queue_page import PAGE_SIZE, page_number

#: The range a replay's form offers: the last hour.
_REPLAYED = timedelta(hours=1)


def _moment(label: str) -> forms.DateTimeField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "step": "1"})
    return forms.DateTimeField(label=label, widget=widget)


class InterveneForm(forms.Form):
    """The reason; and the result of a skipped step, or the range of a replay, if the action needs it."""

    #: Each showing of the form has its own batch id, so a form that is sent twice makes one batch.
    batch = forms.UUIDField(initial=new_id, widget=forms.HiddenInput)
    since = _moment("From")
    until = _moment("Until")
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}))
    result = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}))

    def __init__(self, *args: Any, choice: Choice, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not choice.asks_for("wants_result"):
            del self.fields["result"]
        if not choice.asks_for("wants_range"):
            del self.fields["since"], self.fields["until"]

    def clean_result(self) -> dict[str, Any] | None:
        try:
            return interventions.result_from(self.cleaned_data["result"])
        except NotNow as refused:
            raise forms.ValidationError(str(refused)) from None


if TYPE_CHECKING:
    _Form = FormView[InterveneForm]
else:
    _Form = FormView


class InterveneView(_Form):
    """One action on what was chosen.

    Attributes:
        query: the query string of a list, if the list shows the form itself.
    """

    template_name = "sagas/intervene.html"
    form_class = InterveneForm
    query: QueryDict | None = None
    choice: Choice

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.is_sent = self.query is None and request.method == "POST" and "batch" in request.POST

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        query = self.query or (request.POST if request.method == "POST" else request.GET)
        self.choice = Choice.of(request, query)
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        now = clock.now().replace(microsecond=0)
        moments = {"since": now - _REPLAYED, "until": now}
        initial = {name: timezone.localtime(moment).strftime("%Y-%m-%dT%H:%M:%S") for name, moment in moments.items()}
        return {
            "choice": self.choice,
            "initial": initial,
            "data": self.request.POST if self.is_sent else None,
        }

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        context = self.get_context_data()
        if context["count"]:
            return self.render_to_response(context)
        messages.warning(request, "There is nothing to do: nothing was chosen, or it is gone.")
        return HttpResponseRedirect(self.choice.back)

    def post(self, request: HttpRequest, *args: str, **kwargs: Any) -> HttpResponse:
        return super().post(request, *args, **kwargs) if self.is_sent else self.get(request)

    # Shown --------------------------------------------------------------------------------------------------------

    def form_invalid(self, form: InterveneForm) -> HttpResponse:
        context = self.get_context_data(form=form)
        return self.render_to_response(context, status=400) if context["count"] else self.get(self.request)

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        choice = self.choice
        groups, picked = choice.groups(), choice.picked()
        shown = subjects.summaries(picked, now=clock.now())
        count = sum(group.count for group in groups) or len(shown)
        apply = sum(choice.action in each.actions for each in shown)
        one = shown[0] if len(shown) == 1 and choice.meant is None else None
        display_name = choice.kinds[0][1].display_name if choice.kinds else ""
        context = {
            **admin.site.each_context(self.request),
            "title": _title(one, display_name, count, choice),
            "display_name": display_name,
            "means": _meanings(choice),
            "applies": bool(apply) or choice.meant is not None,
            "not_apply": len(shown) - apply,
            "warning": choice.warning(sum(each.unanswered for each in shown)),
            "shown": shown[:PAGE_SIZE],
            "groups": groups,
            "count": count,
            "hidden": _hidden(choice, shown, count),
            "back": choice.back,
            **(self._of_one(one, picked[0]) if one else {}),
        }
        return super().get_context_data(**(context | more))

    def _of_one(self, one: Summary, row: Any) -> dict[str, Any]:
        kind = subjects.KINDS[one.kind]
        applies = self.choice.action in one.actions
        return {
            "one": one,
            "one_url": kind.page_url(one.pk),
            "others": [] if applies else buttons(self.request, one, back=self.choice.back),
            "example": _example(row) if self.choice.asks_for("wants_result") else "",
        }

    # Sent ---------------------------------------------------------------------------------------------------------

    def form_valid(self, form: InterveneForm) -> HttpResponse:
        try:
            batch = self._write_down(form.cleaned_data)
        except NotNow as refused:
            form.add_error(None, str(refused))
            return self.form_invalid(form)
        if self.choice.is_one and not self.choice.asks_for("wants_range"):
            tasks.work_on_interventions(batch)
            self._show_outcome(Intervention.objects.filter(batch=batch).first())
            return HttpResponseRedirect(self.choice.back)
        tasks.work_on_batch(batch)
        return HttpResponseRedirect(
            f"{reverse('admin:sagas_batch', args=[batch])}?{urlencode({'back': self.choice.back})}"
        )

    def _write_down(self, typed: dict[str, Any]) -> Any:
        """Write the interventions down.

        Raises:
            NotNow: the request is not valid.
        """
        choice = self.choice
        if choice.meant is None and not choice.picked():
            raise NotNow("Nothing was chosen, or it is gone.")
        terms: dict[str, Any] = {
            "reason": typed["reason"],
            "by": cast("Any", self.request.user).get_username(),
            "now": clock.now(),
            "batch": typed["batch"],
        }
        # Never more than the form showed: the queue may have grown since.
        rows = islice(choice.rows(), page_number(self.request.POST.get("count")))
        if choice.asks_for("wants_range"):
            (follower, *others) = list(rows)
            if others:
                raise NotNow("A replay is asked for one subscription at a time.")
            return replays.ask(cast("Any", follower), since=typed["since"], until=typed["until"], **terms)
        return interventions.ask(
            rows, choice.action, version_tokens=choice.version_tokens(), result=typed.get("result"), **terms
        )

    def _show_outcome(self, asked: Intervention | None) -> None:
        """Show the outcome of one intervention as a message."""
        row = None if asked is None else next(iter(subjects.fetch([(asked.kind, asked.subject_id)])), None)
        if asked is None or row is None:
            return
        operation = self.choice.kinds[0][1]
        names = operation.names(subjects.summaries([row], now=clock.now())[0], asked.applied_to)
        if asked.status == InterventionStatus.DONE:
            messages.success(self.request, f"Done: {names} {operation.done}.")
        elif asked.status == InterventionStatus.REFUSED:
            messages.error(self.request, f"{operation.display_name} {names} was refused. {asked.outcome}")
        else:
            said = f"{operation.display_name} {names} is written down: a worker is at it, it is done next."
            messages.info(self.request, said)


def _title(one: Summary | None, display_name: str, count: int, choice: Choice) -> str:
    if one is None:
        return f"{display_name} {count:,}"
    return f"{display_name} {choice.kinds[0][1].names(one)}"


def _meanings(choice: Choice) -> list[tuple[str, str]]:
    """Return what the action will do; where this differs by kind, one text for each kind."""
    texts = subjects.describe(choice.action, choice.names)
    return [(kind.plural if len(texts) > 1 else "", text) for kind, text in texts]


def _hidden(choice: Choice, shown: list[Summary], count: int) -> list[tuple[str, Any]]:
    """Return the hidden fields: the chosen subjects with their current version tokens."""
    fixed: list[tuple[str, Any]] = [("action", choice.action), ("back", choice.back), ("count", count)]
    if choice.meant is not None:
        return [*fixed, ("all", "1"), *choice.meant.narrowed().items()]
    return [*fixed, *(("pick", each.pick) for each in shown)]


def _example(row: Model) -> str:
    (subject,) = subjects.load([row])
    found = subject.result_example()
    return "" if found is None else json.dumps(found, ensure_ascii=False)
