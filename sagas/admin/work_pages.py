"""The pages of the work queue: what needs a person, the form behind every button, and how far a batch is.

A GET changes nothing. `InterventionAdmin` hangs them in.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from ..core.ids import new_id
from ..db import clock
from ..messaging import tasks
from ..models import Follower, Intervention, Run
from ..operations import interventions, queries, replays, standstill, work_queue
from ..operations.interventions import KINDS, Action, NotNow, Subject
from ..operations.work_queue import WAITING, Facts, Filter, Group

_A_PAGE = 50
#: What waits in the queue.
_KINDS = {"run": "Runs", "delivery": "Parked deliveries"}
#: What a replay's form offers: the last hour.
_REPLAYED = timedelta(hours=1)
#: Rows behind a bar that has not moved for this long want a hint.
_SLOW_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Button:
    """A way to the form."""

    action: Action
    label: str
    url: str
    means: str


def may_see(request: Any, kind: str) -> bool:
    """Say whether somebody may look at runs, deliveries or findings."""
    return any(request.user.has_perm(f"sagas.{verb}_{kind}") for verb in ("view", "change"))


def may_change(request: Any, kind: str) -> bool:
    """Say whether somebody may intervene in runs or deliveries, or dismiss findings."""
    return bool(request.user.has_perm(f"sagas.change_{kind}"))


def buttons(request: HttpRequest, shown: Facts, *, back: str = "") -> list[Button]:
    """Return what this person may do to it now."""
    if not may_change(request, shown.kind):
        return []
    return [
        Button(
            action=action,
            label=action.label,
            url=form_url(action, pick=[shown.pick], back=back or request.get_full_path()),
            means=_means(action, shown.kind),
        )
        for action in shown.actions
    ]


def buttons_of_key(request: HttpRequest, key: str, *, back: str) -> list[tuple[Facts, list[Button]]]:
    """Return what this person may do to the open run and the parked deliveries of a key."""
    if not any(may_change(request, kind) for kind in _KINDS):
        return []
    shown = work_queue.facts(work_queue.of_key(key), now=clock.now())
    return [(each, found) for each in shown if (found := buttons(request, each, back=back))]


def form_url(action: str, **more: Any) -> str:
    return f"{reverse('admin:sagas_intervene')}?{urlencode({'action': str(action)} | more, doseq=True)}"


def _means(action: Action, kind: str) -> str:
    return KINDS[kind].get(action, "")


def _context(request: HttpRequest, **more: Any) -> dict[str, Any]:
    return admin.site.each_context(request) | more


# The queue ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Row:
    """One that waits, and what may be done."""

    facts: Facts
    url: str
    buttons: list[Button]


def queue(request: HttpRequest) -> HttpResponse:
    """List what needs a person; the number of queries does not depend on how much that is."""
    if not may_see(request, "run") or request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    kinds = [kind for kind in _KINDS if may_see(request, kind)]
    asked = Filter.of(request.GET)
    every = work_queue.groups(WAITING, kinds)
    total = sum(group.count for group in every if _matches(group, asked))
    pages = max(1, -(-total // _A_PAGE))
    number = min(_whole(request.GET.get("page")), pages)
    meant = Filter(**(asked.narrowed() | WAITING.narrowed() | {"key": ""}))
    subjects = work_queue.page(meant, offset=(number - 1) * _A_PAGE, limit=_A_PAGE, kinds=kinds)
    rows = [
        Row(facts=shown, url=_url_of(shown), buttons=buttons(request, shown))
        for shown in work_queue.facts(subjects, now=clock.now())
    ]
    offered = {button.action for row in rows for button in row.buttons}
    query = meant.narrowed()
    is_narrowed = any(getattr(asked, name) for name, _ in _FIELDS)
    shows_findings = may_see(request, "finding") and not is_narrowed and number == 1
    findings = list(queries.findings()[:_A_PAGE]) if shows_findings else []
    shows_standstill = not is_narrowed and number == 1
    now = clock.now()
    return TemplateResponse(
        request,
        "sagas/queue.html",
        _context(
            request,
            title="Work queue",
            rows=rows,
            total=total,
            everything=sum(group.count for group in every),
            fields=_fields(every, asked),
            is_narrowed=is_narrowed,
            unserved=standstill.unserved(now=now) if shows_standstill else [],
            paused=_paused_subscriptions(request) if shows_standstill and may_see(request, "follower") else [],
            findings=findings,
            more_findings=len(findings) == _A_PAGE,
            may_dismiss=may_change(request, "finding"),
            actions=[action for action in Action if action in offered],
            filter=query,
            number=number,
            pages=pages,
            first=(number - 1) * _A_PAGE + 1,
            last=(number - 1) * _A_PAGE + len(rows),
            before=_page_url(asked, number - 1) if number > 1 else "",
            after=_page_url(asked, number + 1) if number < pages else "",
            back=request.get_full_path(),
        ),
    )


def _paused_subscriptions(request: HttpRequest) -> list[Row]:
    found = standstill.paused(now=clock.now())
    return [Row(facts=shown, url=_url_of(shown), buttons=buttons(request, shown)) for shown in found]


_FIELDS = (("kind", "Kind"), ("process", "Saga or subscription"), ("step", "Step"), ("error", "Error"))


def _fields(every: list[Group], asked: Filter) -> list[dict[str, Any]]:
    """Return the filters, each with the choices the others leave, and how many each would show."""
    fields = []
    for name, label in _FIELDS:
        others = Filter(**(asked.narrowed() | {name: ""}))
        counts: dict[str, int] = {}
        for group in every:
            if _matches(group, others) and (value := getattr(group, name)):
                counts[value] = counts.get(value, 0) + group.count
        chosen = getattr(asked, name)
        if chosen:
            counts.setdefault(chosen, 0)
        choices = [(value, _KINDS.get(value, value), count) for value, count in sorted(counts.items())]
        fields.append({"name": name, "label": label, "chosen": chosen, "choices": choices})
    return fields


def _matches(group: Group, asked: Filter) -> bool:
    return all(getattr(asked, name) in ("", getattr(group, name)) for name, _ in _FIELDS)


def _page_url(asked: Filter, number: int) -> str:
    return f"?{urlencode(asked.narrowed() | {'page': number})}"


def _whole(text: str | None) -> int:
    return max(1, int(text)) if text and text.isascii() and text.isdigit() and len(text) < 9 else 1


def _url_of(shown: Facts) -> str:
    return reverse(f"admin:sagas_{shown.kind}_change", args=[shown.pk])


# What is chosen -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Some that were picked, each as it was seen, or all that a filter means."""

    picks: tuple[tuple[str, str, str], ...] = ()
    meant: Filter | None = None

    @classmethod
    def of(cls, query: QueryDict) -> "Chosen":
        if query.get("all"):
            return cls(meant=Filter.of(query))
        return cls(picks=tuple(pick for text in query.getlist("pick") if (pick := _pick(text)) is not None))

    def kinds(self, action: Action) -> set[str]:
        picked = set(_KINDS) if self.meant is not None else {kind for kind, _, _ in self.picks}
        return {kind for kind in picked if action in KINDS[kind]}

    def subjects(self, kinds: set[str]) -> Iterator[Subject]:
        if self.meant is None:
            return iter(work_queue.fetch([(kind, ref) for kind, ref, _ in self.picks if kind in kinds]))
        runs = self.meant.runs().only("epoch", "place", "status").order_by("pk").iterator()
        owed = self.meant.deliveries().only("attempts", "status").order_by("pk").iterator()
        return chain(runs if "run" in kinds else (), owed if "delivery" in kinds else ())

    def groups(self, kinds: set[str]) -> list[Group]:
        return [] if self.meant is None else work_queue.groups(self.meant, kinds)

    def as_seen(self) -> dict[UUID | int | str, str]:
        keys: dict[str, Callable[[str], UUID | int | str]] = {"run": UUID, "delivery": int, "follower": str}
        return {keys[kind](ref): seen for kind, ref, seen in self.picks}

    def hidden(self, shown: list[Facts]) -> list[tuple[str, str]]:
        """Return the fields that make the form mean the same, as it is seen now."""
        if self.meant is not None:
            return [("all", "1"), *self.meant.narrowed().items()]
        return [("pick", each.pick) for each in shown]


def _pick(text: str) -> tuple[str, str, str] | None:
    kind, _, rest = text.partition(":")
    ref, _, seen = rest.partition("@")
    with contextlib.suppress(ValueError):
        if kind == "run":
            return kind, str(UUID(ref)), seen.replace("\x00", "")
        if kind == "delivery" and ref.isascii() and 0 < len(ref) < 19:
            return kind, str(int(ref)), seen.replace("\x00", "")
        if kind == "follower" and ref and "\x00" not in ref:
            return kind, ref, seen.replace("\x00", "")
    return None


# The form -------------------------------------------------------------------------------------------------------------


def _moment_widget() -> forms.Widget:
    widget: forms.Widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "step": "1"})
    return widget


class InterveneForm(forms.Form):
    """Why, and what a skipped step hands on, or which range is replayed."""

    #: One showing of the form asks once, however often it is sent.
    batch = forms.UUIDField(initial=new_id, widget=forms.HiddenInput)
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autofocus": True}))
    result = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}))

    since = forms.DateTimeField(required=False, label="From", widget=_moment_widget())
    until = forms.DateTimeField(required=False, label="Until", widget=_moment_widget())

    def clean_result(self) -> dict[str, Any] | None:
        try:
            return interventions.result_from(self.cleaned_data["result"])
        except NotNow as refused:
            raise forms.ValidationError(str(refused)) from None


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """What the form is about."""

    action: Action
    chosen: Chosen
    kinds: set[str]
    back: str


def intervene(request: HttpRequest) -> HttpResponse:
    """Show what will happen and ask for the reason; sent, it happens.

    What was picked in a list is posted here too, for many are too long for an address: it shows the form.
    """
    if request.method != "POST" or "batch" not in request.POST:
        return show_form(request, request.POST if request.method == "POST" else request.GET)
    wish = _wish(request, request.POST)
    form = InterveneForm(request.POST)
    if form.is_valid():
        try:
            return _ask(request, wish, form.cleaned_data)
        except NotNow as refused:
            form.add_error(None, str(refused))
    return _form_page(request, wish, form)


def show_form(request: HttpRequest, query: QueryDict) -> HttpResponse:
    """Return the form for what a query means; it changes nothing."""
    now = clock.now().replace(microsecond=0)
    moments = {"since": now - _REPLAYED, "until": now}
    shown = {name: timezone.localtime(moment).strftime("%Y-%m-%dT%H:%M:%S") for name, moment in moments.items()}
    return _form_page(request, _wish(request, query), InterveneForm(initial=shown))


def _wish(request: HttpRequest, query: QueryDict) -> _Wish:
    try:
        action = Action(query.get("action", ""))
    except ValueError:
        raise Http404 from None
    chosen = Chosen.of(query)
    kinds = chosen.kinds(action)
    allowed = {kind for kind in KINDS if may_change(request, kind)}
    # A filter means what one may change of it; what was picked by hand is refused as a whole.
    kinds = kinds & allowed if chosen.meant is not None else kinds
    if not allowed or not kinds <= allowed or (chosen.meant is not None and not kinds):
        raise PermissionDenied
    return _Wish(
        action=action,
        chosen=chosen,
        kinds=kinds,
        back=back_to(request, query.get("back", ""), otherwise="admin:sagas_queue"),
    )


def _form_page(request: HttpRequest, wish: _Wish, form: InterveneForm) -> HttpResponse:
    action, chosen, kinds, back = wish.action, wish.chosen, wish.kinds, wish.back
    groups = chosen.groups(kinds)
    subjects = [] if chosen.meant is not None else list(chosen.subjects(kinds))
    shown = work_queue.facts(subjects, now=clock.now())
    count = sum(group.count for group in groups) or len(shown)
    if not count:
        messages.warning(request, "There is nothing to do: nothing was chosen, or it is gone.")
        return HttpResponseRedirect(back)
    one = shown[0] if len(shown) == 1 and chosen.meant is None else None
    apply = sum(action in each.actions for each in shown)
    run = subjects[0] if one is not None and isinstance(subjects[0], Run) else None
    wants_result = action == Action.SKIP and "run" in kinds
    return TemplateResponse(
        request,
        "sagas/intervene.html",
        _context(
            request,
            title=_title(action, one) if one else f"{action.label} {count:,}",
            action=action,
            means=_meanings(action, {one.kind} if one else kinds),
            form=form,
            one=one,
            one_url=_url_of(one) if one else "",
            status=one.status.replace("_", " ") if one else "",
            applies=bool(apply) or chosen.meant is not None,
            not_apply=len(shown) - apply,
            others=buttons(request, one, back=back) if one and not apply else [],
            shown=shown[:_A_PAGE],
            groups=groups,
            count=count,
            doubt=interventions.doubt(sum(each.unanswered for each in shown)) if action == Action.SKIP else "",
            hidden=[("action", action), ("back", back), ("count", count), *chosen.hidden(shown)],
            wants_result=wants_result,
            wants_range=action == Action.REPLAY,
            example=_example(run, one.step) if wants_result and run and one else "",
            reads_customer=action == Action.CANCEL,
            back=back,
        ),
        status=400 if form.is_bound else 200,
    )


def _title(action: Action, one: Facts) -> str:
    return interventions.wanted(action, one.kind, title=one.title, step=one.step or one.process)


def _meanings(action: Action, kinds: set[str]) -> list[tuple[str, str]]:
    """Return what will happen; where it differs by kind, with the name of each."""
    told = {kind: _means(action, kind) for kind in KINDS if kind in kinds}
    return [(_KINDS.get(kind, "") if len(told) > 1 else "", text) for kind, text in told.items()]


def _example(run: Run, step: str) -> str:
    found = work_queue.result_example(run, step)
    return "" if found is None else json.dumps(found, ensure_ascii=False)


def _ask(request: HttpRequest, wish: _Wish, typed: Mapping[str, Any]) -> HttpResponse:
    action, chosen, kinds, back = wish.action, wish.chosen, wish.kinds, wish.back
    if action == Action.REPLAY:
        return _ask_replay(request, wish, typed)
    # Never more than were shown: the queue may have grown since.
    subjects = islice(chosen.subjects(kinds), _whole(request.POST.get("count")))
    batch = interventions.ask(
        subjects,
        action,
        reason=typed["reason"],
        by=cast("Any", request.user).get_username(),
        now=clock.now(),
        as_seen=chosen.as_seen(),
        result=typed["result"] if action == Action.SKIP else None,
        batch=typed["batch"],
    )
    if chosen.meant is None and len(chosen.picks) == 1:
        tasks.work_on_interventions(batch)
        asked = Intervention.objects.filter(batch=batch).first()
        if asked is not None:
            _tell(request, asked)
        return HttpResponseRedirect(back)
    tasks.work_on_batch(batch)
    return HttpResponseRedirect(f"{reverse('admin:sagas_batch', args=[batch])}?{urlencode({'back': back})}")


def _ask_replay(request: HttpRequest, wish: _Wish, typed: Mapping[str, Any]) -> HttpResponse:
    followers = [subject for subject in wish.chosen.subjects(wish.kinds) if isinstance(subject, Follower)]
    if len(followers) != 1 or None in (typed["since"], typed["until"]):
        raise NotNow("Say from when until when, and to one subscription at a time.")
    batch = replays.ask(
        followers[0],
        since=typed["since"],
        until=typed["until"],
        reason=typed["reason"],
        by=cast("Any", request.user).get_username(),
        now=clock.now(),
        batch=typed["batch"],
    )
    tasks.work_on_batch(batch)
    return HttpResponseRedirect(f"{reverse('admin:sagas_batch', args=[batch])}?{urlencode({'back': wish.back})}")


def _tell(request: HttpRequest, asked: Intervention) -> None:
    (shown,) = work_queue.facts([asked.subject], now=clock.now())
    action, named = Action(asked.action), {"title": shown.title, "step": asked.step or shown.step or shown.process}
    what = interventions.wanted(action, shown.kind, **named)
    if asked.status == Intervention.Status.DONE:
        messages.success(request, f"Done: {interventions.done(action, shown.kind, **named)}.")
    elif asked.status == Intervention.Status.REFUSED:
        messages.error(request, f"{what} was refused. {asked.outcome}")
    else:
        messages.info(request, f"{what} is being done: a worker is at it at this moment, yours is next.")


def back_to(request: HttpRequest, wanted: str, *, otherwise: str) -> str:
    """Return the address somebody came from, if it is one of ours."""
    safe = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, {request.get_host()})
    return wanted if safe else reverse(otherwise)


# A batch --------------------------------------------------------------------------------------------------------------


def batch(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Show how far a batch is; the page asks again while something is left."""
    return TemplateResponse(request, "sagas/batch.html", _context(request, **_batch(request, batch_id)))


def batch_part(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """Return what changes on the page of a batch, for the page to fetch."""
    return TemplateResponse(request, "sagas/_batch.html", _batch(request, batch_id))


def _batch(request: HttpRequest, batch_id: UUID) -> dict[str, Any]:
    if not may_see(request, "run") or request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    rows = Intervention.objects.filter(batch=batch_id)
    asked = rows.first()
    if asked is None:
        raise Http404
    is_replay = asked.action == Action.REPLAY
    far = replays.progress(asked) if is_replay else interventions.progress(batch_id)
    refused = rows.filter(status=Intervention.Status.REFUSED).values_list("outcome").annotate(count=Count("pk"))
    return {
        "title": f"{asked.get_action_display()} {far.total:,}{' events' if is_replay else ''}",
        "replay": _range(asked) if is_replay else None,
        "asked": asked,
        "far": far,
        "over": far.done + far.refused,
        "percent": 100 * (far.done + far.refused) // far.total,
        "refused": refused.order_by("-count")[:20],
        "slow": far.pending and (clock.now() - asked.asked_at).total_seconds() > _SLOW_SECONDS,
        "poll_ms": 700 if far.pending else 0,
        "part_url": reverse("admin:sagas_batch_part", args=[batch_id]),
        "audit_url": f"{reverse('admin:sagas_intervention_changelist')}?batch={batch_id}",
        "back": back_to(request, request.GET.get("back", ""), otherwise="admin:sagas_queue"),
    }


def _range(asked: Intervention) -> dict[str, Any]:
    """Return what a replay is about, for its page."""
    since, until = (datetime.fromisoformat(replays.terms_of(asked)[name]) for name in ("since", "until"))
    return {"name": asked.follower_id, "since": since, "until": until}
