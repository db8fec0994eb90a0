"""The page of one order: its standing with reasons, and the possible actions."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache

from backoffice.inspect import ModelAdmin, is_uuid
from backoffice.money import formatted
from orders import selectors as orders
from orders.models import Order
from payments import selectors as payments
from sagas.admin.buttons import buttons_of_key
from sagas.db import clock
from sagas.operations.attention_reasons import Why

from ..pages.history_page import as_of
from ..pages.timeline_lines import OrderLine, Shown, poll_ms
from ..story.standing import Standing
from ..story.timeline import story


class OrderPageAdmin(ModelAdmin):
    """The page of an order."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:order_id>/story/", wrap(never_cache(self.story_view)), name="orders_order_story"),
            path("<uuid:order_id>/as-of/", wrap(never_cache(self.as_of_view)), name="orders_order_as_of"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = self._story(request, object_id)
        context |= self.admin_site.each_context(request) | {
            "title": f"Order {context['order'].number}",
            "opts": self.opts,
            "original": context["order"],
            "has_view_permission": True,
            "may_place": self.has_add_permission(request),
        }
        return TemplateResponse(request, "shop/order.html", context)

    def story_view(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        """Return the part of an order's page that changes; the page fetches it."""
        return TemplateResponse(request, "shop/_story.html", self._story(request, str(order_id)))

    def as_of_view(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        """Show the state of an order at a moment (`at`), and its changes from another moment (`since`)."""
        self._may_look(request)
        order = self.get_queryset(request).filter(pk=order_id).first()
        if order is None:
            raise Http404
        context = self.admin_site.each_context(request) | {
            "title": f"Order {order.number} as of a moment",
            "opts": self.opts,
            "original": order,
            "page": as_of(order_id, request.GET, now=clock.now()),
        }
        return TemplateResponse(request, "shop/as_of.html", context)

    def _may_look(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied

    def _story(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        self._may_look(request)
        order = orders.order(UUID(object_id)) if is_uuid(object_id) else None
        if order is None:
            raise Http404
        now = clock.now()
        standing, entries = story(order.id, now=now)
        return {
            "order": order,
            "lines": [OrderLine.of(line, order.currency) for line in order.lines.all()],
            "total": formatted(order.total_minor, order.currency),
            "method": payments.method_name(order.payment_method),
            "standing": standing,
            "poll_ms": poll_ms(standing, placed_at=order.placed_at, last_at=entries[-1].at, now=now),
            "entries": [Shown.of(entry, since=order.placed_at) for entry in entries],
            "links": [
                ("As of any moment", reverse("admin:orders_order_as_of", args=[order.pk])),
                *_links(request, standing),
            ],
            "acts": _acts(request, order),
        }


def _acts(request: HttpRequest, order: Order) -> list[tuple[str, str, str]]:
    """Return the actions this person may do now: label, address and effect of each button."""
    back, found = reverse("admin:orders_order_change", args=[order.pk]), []
    for facts, buttons in buttons_of_key(request, str(order.id), back=back):
        on = f" “{facts.step or facts.process}”"
        labels = {"cancel": "Cancel order", "undo": "Undo order", "pause": "Pause", "resume": "Resume"}
        found += [(labels.get(each.action, each.label + on), each.url, each.means) for each in buttons]
    return found


#: Labels of the links to what waits for a person.
_PAGES = {
    Why.PARKED: ("delivery", "Open what gave up"),
    Why.HELD_BACK: ("follower", "Open the paused"),
    Why.FINDING: ("finding", "Open the finding"),
}


def _links(request: Any, standing: Standing) -> list[tuple[str, str]]:
    """Return links to further pages, as far as the user may open them."""
    links = []
    for each in standing.attention:
        model, label = _PAGES.get(each.why, ("", ""))
        if model and request.user.has_perm(f"sagas.view_{model}"):
            links.append((f"{label} “{each.name}”", reverse(f"admin:sagas_{model}_change", args=[each.ref])))
    if standing.run_id is not None and request.user.has_perm("sagas.view_run"):
        links.append(("Technical details of the process", reverse("admin:sagas_run_change", args=[standing.run_id])))
    return links
