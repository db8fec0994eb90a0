"""The page of an order as of a moment: its state then, and its changes since an earlier moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.utils import timezone

from sagas.core.errors import UnreadableEventError
from shop.story.entries import Entry, event_entry
from shop.story.history import History, Moment, OrderAsOf, history
from shop.story.words import words

from .state_texts import Change, by_part, changes, facts, moment_text
from .timeline_lines import span, tone

_MILLISECOND = timedelta(milliseconds=1)


class MomentField(forms.DateTimeField):
    """A moment, in the shop's zone unless it says otherwise."""

    default_error_messages = {"invalid": "A date and a time are needed, such as 2026-11-25 14:30."}

    def to_python(self, value: Any) -> datetime | None:
        try:
            moment = super().to_python(value)
            if moment is None:
                return None
            # At the ends of the calendar some moments do not exist in the shop's zone.
            for shown in (moment, moment + _MILLISECOND):
                timezone.localtime(shown)
            return moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


class MomentsForm(forms.Form):
    """Two moments: the later one is now by default; without the earlier one, the page shows the later one's changes."""

    at = MomentField(required=False, label="As of")
    since = MomentField(required=False, label="Compared with")

    def clean(self) -> dict[str, Any]:
        at, since = self.cleaned_data.get("at"), self.cleaned_data.get("since")
        if at is not None and since is not None and since >= at:
            self.add_error("since", "This moment has to be the earlier one.")
        return self.cleaned_data


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of the form, as the browser needs it."""

    name: str
    label: str
    value: str
    errors: list[str]


@dataclass(frozen=True, kw_only=True)
class ShownMoment:
    """One moment of the list: its time, its events, and the address of its page."""

    at: datetime
    clock: str
    offset: str
    entries: list[Entry]
    url: str
    #: Address that compares it with the shown moment; empty if it is not earlier.
    since_url: str
    is_shown: bool
    is_since: bool


@dataclass(frozen=True, kw_only=True)
class AsOf:
    """The data of the page.

    Attributes:
        note: a remark about the requested moment; the page may show only this.
        parts: the state of the order, by part; empty before it was placed.
        compared: name of the earlier state of the comparison; empty without a comparison.
        back_url, on_url: addresses of the previous and the next moment; empty at the ends.
    """

    fields: list[Field]
    note: str = ""
    heading: str = ""
    status: str = ""
    tone: str = ""
    parts: Mapping[str, list[tuple[str, str]]]
    compared: str = ""
    changes: list[Change]
    moments: list[ShownMoment]
    back_url: str = ""
    on_url: str = ""


def as_of(order_id: UUID, asked: Mapping[str, str], *, now: datetime) -> AsOf:
    """Return the page for a query string (`at`, `since`, both may be missing); one statement."""
    form = MomentsForm(asked)
    is_valid = form.is_valid()
    try:
        past = history(order_id)
    except UnreadableEventError as unreadable:
        note = f"Its history cannot be told: {unreadable}."
        return AsOf(fields=_fields(form, asked), note=note, parts={}, changes=[], moments=[])
    if not is_valid:
        return AsOf(fields=_fields(form, asked), parts={}, changes=[], moments=list(_moments(past, None, None, None)))
    return _page(form, asked, past, now)


def _page(form: MomentsForm, asked: Mapping[str, str], past: History, now: datetime) -> AsOf:
    at, since = form.cleaned_data["at"], form.cleaned_data["since"]
    shown = past.moment(at or now)
    # An event of a clock that is a little ahead has happened all the same.
    shown = past.moments[-1] if at is None and past.moments else shown
    before, compared = _earlier(past, shown, since)
    place = -1 if shown is None else past.moments.index(shown)
    state = OrderAsOf() if shown is None else shown.state
    return AsOf(
        fields=_fields(form, asked),
        note=_note(past, at, now),
        heading=f"As of {moment_text(at)}" if at is not None else "Now",
        status=words(state.order.status) if state.order.is_placed else "",
        tone=tone(state.order.status),
        parts=by_part(facts(state)),
        compared=compared,
        changes=changes(before, state) if compared else [],
        moments=list(_moments(past, shown, at, since)),
        back_url=_url(past.moments[place - 1].at, since) if place > 0 else "",
        on_url=_url(past.moments[place + 1].at, since) if place + 1 < len(past.moments) else "",
    )


def _earlier(past: History, shown: Moment | None, since: datetime | None) -> tuple[OrderAsOf, str]:
    """Return the state to compare with, and its name for people."""
    if since is not None:
        return past.as_of(since), f"since {moment_text(since)}"
    if shown is None:
        return OrderAsOf(), ""
    place = past.moments.index(shown)
    before = past.moments[place - 1].state if place else OrderAsOf()
    return before, f"at {moment_text(shown.at)}"


def _note(past: History, at: datetime | None, now: datetime) -> str:
    if not past.moments:
        return "No event of this order is kept: its history cannot be told."
    if at is not None and at < past.moments[0].at:
        return f"At this moment there was no such order: it was placed at {moment_text(past.moments[0].at)}."
    return "This moment is still to come; below is what has happened so far." if at is not None and at > now else ""


# Moments --------------------------------------------------------------------------------------------------------------


def _moments(past: History, shown: Moment | None, at: datetime | None, since: datetime | None) -> Iterator[ShownMoment]:
    """Yield the moments, oldest first; with the date if they are of several days."""
    if not past.moments:
        return
    first = past.moments[0].at
    since_shown = None if since is None else past.moment(since)
    dates = [None, *(timezone.localdate(moment.at) for moment in past.moments)]
    for moment, (day_before, day) in zip(past.moments, pairwise(dates), strict=True):
        clock = f"{timezone.localtime(moment.at):%H:%M:%S}.{moment.at.microsecond // 1000:03d}"
        yield ShownMoment(
            at=moment.at,
            clock=clock if day == day_before else moment_text(moment.at),
            offset=f"+{span(moment.at - first)}",
            entries=[event_entry(event) for event in moment.events],
            url=_url(moment.at, since),
            since_url=_url(at or shown.at, moment.at) if shown is not None and moment.at < shown.at else "",
            is_shown=moment is shown,
            is_since=moment is since_shown,
        )


def _url(at: datetime, since: datetime | None) -> str:
    """Return the address of a moment's page; compared with another moment only if that is earlier."""
    since = since if since is not None and since < at else None
    asked = {name: _exact(moment) for name, moment in (("at", at), ("since", since)) if moment is not None}
    return f"?{urlencode(asked)}"


def _fields(form: MomentsForm, asked: Mapping[str, str]) -> list[Field]:
    return [
        Field(
            name=name,
            label=str(field.label),
            value=_typed(form, name, asked),
            errors=[str(error) for error in form[name].errors],
        )
        for name, field in form.fields.items()
    ]


def _typed(form: MomentsForm, name: str, asked: Mapping[str, str]) -> str:
    """Return the value of a field: a browser has a precision of milliseconds, so the end of the millisecond."""
    moment: datetime | None = form.cleaned_data.get(name)
    if moment is None:
        return asked.get(name, "")
    whole = timezone.localtime(moment + timedelta(microseconds=-moment.microsecond % 1000))
    return whole.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _exact(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat()}Z"
