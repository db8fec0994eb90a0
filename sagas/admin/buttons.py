"""The buttons of actions, and who may see them."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ..core.statuses import Action
from ..db import clock
from ..operations import subjects, work_queue
from ..operations.subject import Subject
from ..operations.summary import Summary

SubjectKind = type[Subject[Any]]


@dataclass(frozen=True, kw_only=True)
class Button:
    """A link to the form of an action."""

    action: Action
    label: str
    url: str
    means: str


def may_see(request: Any, kind: SubjectKind) -> bool:
    return any(request.user.has_perm(kind.permission(verb)) for verb in ("view", "change"))


def may_act(request: Any, kind: SubjectKind) -> bool:
    return bool(request.user.has_perm(kind.permission("change")))


def may_see_queue(request: Any) -> bool:
    """Say whether the user may see some part of the work queue."""
    return any(may_see(request, kind) for kind in work_queue.kinds())


def buttons(request: HttpRequest, shown: Summary, *, back: str = "") -> list[Button]:
    """Return a button for each action this user may do to a subject now."""
    kind = subjects.KINDS[shown.kind]
    if not may_act(request, kind):
        return []
    return [
        Button(
            action=action,
            label=operation.display_name,
            url=form_url(action, pick=[shown.pick], back=back or request.get_full_path()),
            means=operation.description,
        )
        for action in shown.actions
        if (operation := kind.operation(action)) is not None
    ]


def buttons_of_key(request: HttpRequest, key: str, *, back: str) -> list[tuple[Summary, list[Button]]]:
    """Return a button for each action this user may do to the open runs and parked deliveries of a key."""
    if not any(may_act(request, kind) for kind in work_queue.kinds()):
        return []
    shown = subjects.summaries(work_queue.of_key(key), now=clock.now())
    return [(each, found) for each in shown if (found := buttons(request, each, back=back))]


def form_url(action: str, **more: Any) -> str:
    return f"{reverse('admin:sagas_intervene')}?{urlencode({'action': str(action)} | more, doseq=True)}"


def back_to(request: HttpRequest, wanted: str, *, otherwise: str) -> str:
    """Return the address the user came from, if it is one of ours."""
    is_safe = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, {request.get_host()})
    return wanted if is_safe else reverse(otherwise)
