"""The work queue: subjects that need a person, filtered, a page at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.mixins import UserPassesTestMixin
from django.views.generic import TemplateView

from ..core import registry
from ..core.key_names import KeyLabel
from ..core.statuses import RunStatus
from ..db import clock
from ..models import Finding
from ..operations import queries, standstill, subjects, work_queue
from ..operations.followers import FollowerSubject
from ..operations.subject import Filter
from ..operations.summary import Summary
from ..operations.work_queue import WAITING, Group
from .buttons import Button, buttons, may_see, may_see_queue
from .findings import Remedy, remedy_of

PAGE_SIZE = 50
_FIELDS = (("kind", "Kind"), ("process", "Saga or subscription"), ("step", "Step"), ("error", "Error"))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A waiting subject, and the actions that apply."""

    summary: Summary
    tag: str
    url: str
    buttons: list[Button]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The open findings of one key: several checks may report it, and it is one problem."""

    key: str
    named: KeyLabel | None
    findings: list[tuple[Finding, Remedy]]

    @property
    def ids(self) -> str:
        return urlencode({"id": [finding.pk for finding, _ in self.findings]}, doseq=True)


class QueueView(UserPassesTestMixin, TemplateView):
    """Lists the subjects that need a person; the number of queries does not depend on their number."""

    template_name = "sagas/queue.html"
    http_method_names = ["get", "head"]
    raise_exception = True

    def test_func(self) -> bool:
        return may_see_queue(self.request)

    def get_context_data(self, **_: Any) -> dict[str, Any]:
        names = [kind.kind for kind in work_queue.kinds() if may_see(self.request, kind)]
        asked = Filter.of(self.request.GET)
        every = work_queue.groups(WAITING, names)
        total = sum(group.count for group in every if _matches(group, asked))
        pages = max(1, -(-total // PAGE_SIZE))
        number = min(page_number(self.request.GET.get("page")), pages)
        meant = Filter(**(asked.narrowed() | WAITING.narrowed() | {"key": ""}))
        rows = self._rows(meant, number, names)
        is_narrowed = any(getattr(asked, name) for name, _ in _FIELDS)
        return {
            **admin.site.each_context(self.request),
            "title": "Work queue",
            "rows": rows,
            "total": total,
            "everything": sum(group.count for group in every),
            "fields": _fields(every, asked),
            "is_narrowed": is_narrowed,
            **({} if is_narrowed or number > 1 else self._findings() | self._standing_still()),
            "actions": _offered(rows),
            "filter": meant.narrowed(),
            "page": _page(asked, number, pages, len(rows)),
            "back": self.request.get_full_path(),
        }

    def _rows(self, meant: Filter, number: int, names: list[str]) -> list[Row]:
        found = work_queue.page(meant, offset=(number - 1) * PAGE_SIZE, limit=PAGE_SIZE, names=names)
        return [self._row(shown) for shown in subjects.summaries(found, now=clock.now())]

    def _row(self, shown: Summary) -> Row:
        kind = subjects.KINDS[shown.kind]
        tag = "paused" if shown.status == RunStatus.PAUSED else kind.tag
        return Row(summary=shown, tag=tag, url=kind.page_url(shown.pk), buttons=buttons(self.request, shown))

    def _standing_still(self) -> dict[str, Any]:
        """Return the causes that hold up more than one key: queues without a worker, paused subscriptions."""
        now = clock.now()
        paused = standstill.paused(now=now) if may_see(self.request, FollowerSubject) else []
        return {"unserved": standstill.unserved(now=now), "paused": [self._row(shown) for shown in paused]}

    def _findings(self) -> dict[str, Any]:
        user: Any = self.request.user
        if not (user.has_perm("sagas.view_finding") or user.has_perm("sagas.change_finding")):
            return {}
        found = list(queries.findings()[:PAGE_SIZE])
        return {
            "problems": _problems(found),
            "more_findings": len(found) == PAGE_SIZE,
            "may_dismiss": user.has_perm("sagas.change_finding"),
        }


def _problems(findings: Iterable[Finding]) -> list[Problem]:
    """Group findings by key, the oldest problem first."""
    found = sorted(findings, key=lambda finding: finding.key)
    named = registry.named({finding.key for finding in found})
    problems = [
        Problem(key=key, named=named.get(key), findings=[(finding, remedy_of(finding)) for finding in of_key])
        for key, of_key in groupby(found, key=lambda finding: finding.key)
    ]
    return sorted(problems, key=lambda problem: problem.findings[0][0].found_at)


def _offered(rows: list[Row]) -> list[Button]:
    """Return a button of each action that a row of the page offers."""
    found = {button.action: button for row in rows for button in row.buttons}
    return [found[action] for action in subjects.actions() if action in found]


def _fields(every: list[Group], asked: Filter) -> list[dict[str, Any]]:
    """Return the filters, each with the choices that the other filters leave, and the count of each choice."""
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
        kinds = subjects.KINDS if name == "kind" else {}
        choices = [
            (value, kinds[value].plural if value in kinds else value, count) for value, count in sorted(counts.items())
        ]
        fields.append({"name": name, "label": label, "chosen": chosen, "choices": choices})
    return fields


def _matches(group: Group, asked: Filter) -> bool:
    return all(getattr(asked, name) in ("", getattr(group, name)) for name, _ in _FIELDS)


def _page(asked: Filter, number: int, pages: int, count: int) -> dict[str, Any]:
    def url(to: int) -> str:
        return f"?{urlencode(asked.narrowed() | {'page': to})}"

    return {
        "pages": pages,
        "first": (number - 1) * PAGE_SIZE + 1,
        "last": (number - 1) * PAGE_SIZE + count,
        "before": url(number - 1) if number > 1 else "",
        "after": url(number + 1) if number < pages else "",
    }


def page_number(text: str | None) -> int:
    return max(1, int(text)) if text and text.isascii() and text.isdigit() and len(text) < 9 else 1
