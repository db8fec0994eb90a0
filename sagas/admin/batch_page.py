"""The progress of a batch of interventions; the page reloads itself while some are pending."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.mixins import UserPassesTestMixin
from django.db.models import Count
from django.http import Http404
from django.urls import reverse
from django.views.generic import TemplateView

from ..core.statuses import Action, InterventionStatus, label
from ..db import clock
from ..models import Intervention
from ..operations import interventions, replays
from .buttons import back_to, may_see_queue

#: A batch that is not done after this long shows a hint about the possible cause.
_SLOW_SECONDS = 20
_POLL_MS = 700


class BatchPartView(UserPassesTestMixin, TemplateView):
    """The part of a batch's page that changes; the page fetches it."""

    template_name = "sagas/_batch.html"
    http_method_names = ["get", "head"]
    raise_exception = True

    def test_func(self) -> bool:
        return may_see_queue(self.request)

    def get_context_data(self, **_: Any) -> dict[str, Any]:
        batch_id: UUID = self.kwargs["batch_id"]
        rows = Intervention.objects.filter(batch=batch_id)
        asked = rows.first()
        if asked is None:
            raise Http404
        is_replay = asked.action == Action.REPLAY
        far = replays.progress(asked) if is_replay else interventions.progress(batch_id)
        refused = rows.filter(status=InterventionStatus.REFUSED).values_list("outcome").annotate(count=Count("pk"))
        action = label(asked.action).capitalize()
        return {
            "title": f"{action} {far.total:,}{' events' if is_replay else ''}",
            "action": action,
            "replay": _range(asked) if is_replay else None,
            "asked": asked,
            "far": far,
            "over": far.done + far.refused,
            "percent": 100 * (far.done + far.refused) // far.total,
            "refused": refused.order_by("-count")[:20],
            "slow": far.pending and (clock.now() - asked.asked_at).total_seconds() > _SLOW_SECONDS,
            "poll_ms": _POLL_MS if far.pending else 0,
        }


class BatchView(BatchPartView):
    """The page of a batch."""

    template_name = "sagas/batch.html"

    def get_context_data(self, **_: Any) -> dict[str, Any]:
        batch_id = self.kwargs["batch_id"]
        return {
            **admin.site.each_context(self.request),
            **super().get_context_data(),
            "part_url": reverse("admin:sagas_batch_part", args=[batch_id]),
            "audit_url": f"{reverse('admin:sagas_intervention_changelist')}?batch={batch_id}",
            "back": back_to(self.request, self.request.GET.get("back", ""), otherwise="admin:sagas_queue"),
        }


def _range(asked: Intervention) -> dict[str, Any]:
    """Return the range of a replay, as text."""
    since, until = (datetime.fromisoformat(replays.terms_of(asked)[name]) for name in ("since", "until"))
    return {"name": asked.subject_id, "since": since, "until": until}
