"""The list of orders: columns, filters and search."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from backoffice.inspect import CappedPaginator, ModelAdmin, is_uuid, labelled
from backoffice.money import formatted
from orders.models import Order
from sagas.db import clock
from sagas.operations import attention

from ..pages.order_search import searched
from ..pages.timeline_lines import ago
from ..story.attention import SUSPICIOUS_AFTER, of_orders

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList

STATUS_COLOURS = {"Pending": "info", "Confirmed": "success", "Rejected": "danger", "Cancelled": "warning"}


class AttentionFilter(admin.SimpleListFilter):
    """Orders that wait for a person."""

    title, parameter_name = "attention", "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Needs a person")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "yes":
            return queryset
        now = clock.now()
        stuck = Q(status=Order.Status.PENDING, placed_at__lt=now - SUSPICIOUS_AFTER)
        return queryset.filter(stuck | Q(id__in=[UUID(key) for key in attention.keys(now=now) if is_uuid(key)]))


class PlacedFilter(admin.DateFieldListFilter):
    """A filter by day, with the name of the time zone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = f"{self.title} ({settings.TIME_ZONE})"


class OrderList(ChangeList):
    """Adds the journal's data to a page of orders: two queries for each page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        page = list(self.result_list)
        known = of_orders(page, now=clock.now())
        for order in page:
            order.marked = known.get(order.id)
        self.result_list = page


class OrderListAdmin(ModelAdmin):
    """The list of orders."""

    list_display = ("number", "customer", "state", "total", "age", "mark")
    list_filter = ("status", AttentionFilter, ("placed_at", PlacedFilter))
    search_fields = ("number",)
    search_help_text = "A number or id, an imported invoice, a tracking number, a SKU, or words of a name or e-mail."
    ordering = ("-id",)
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    sortable_by = ()
    actions = None

    @admin.display(description="customer")
    def customer(self, order: Order) -> SafeString:
        return format_html(
            '<span class="shop-customer">{}<small>{}</small></span>', order.customer_name, order.customer_email
        )

    @labelled("status", STATUS_COLOURS)
    def state(self, order: Order) -> str:
        return order.get_status_display()

    @admin.display(description="total")
    def total(self, order: Order) -> str:
        return formatted(order.total_minor, order.currency)

    @admin.display(description="age")
    def age(self, order: Order) -> SafeString:
        return ago(order.placed_at, now=clock.now())

    @admin.display(description="attention")
    def mark(self, order: Any) -> SafeString | str:
        if order.marked is None:
            return ""
        return format_html(
            '<span class="shop-mark" title="{0}"><span class="material-symbols-outlined" aria-hidden="true">warning'
            '</span>{1}<span class="sr-only">: {0}</span></span>',
            order.marked.text,
            ", ".join(order.marked.badges),
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return OrderList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return searched(queryset, search_term), False
