"""The tables of the read models, read only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from backoffice.customers import identity
from backoffice.inspect import InspectAdmin, labelled
from backoffice.money import formatted

from ..models import CustomerOrder, SalesOfDay
from .order_list import STATUS_COLOURS


@admin.register(SalesOfDay)
class SalesOfDayAdmin(InspectAdmin):
    """Sales by day and product; about a second behind."""

    list_display = ("day", "zone", "sku", "name", "orders", "quantity", "total")
    list_display_links = ("day", "sku")
    search_fields = ("sku",)
    search_help_text = "A whole SKU."
    ordering = ("-day", "sku")

    @admin.display(description="total")
    def total(self, row: SalesOfDay) -> str:
        return formatted(row.total_minor, row.currency)


@admin.register(CustomerOrder)
class CustomerOrderAdmin(InspectAdmin):
    """The orders of customers, as a read model holds them; about a second behind."""

    list_display = ("number", "customer_email", "state", "contents", "total", "paid", "tracking_number", "told_at")
    list_display_links = ("number",)
    search_fields = ("number", "customer_email", "order_id")
    search_help_text = "A whole number, e-mail or id."
    ordering = ("-placed_at",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(
            request, queryset, identity(search_term) if "@" in search_term else search_term
        )

    @labelled("status", {name.lower(): colour for name, colour in STATUS_COLOURS.items()})
    def state(self, row: CustomerOrder) -> str:
        return row.status

    @admin.display(description="total")
    def total(self, row: CustomerOrder) -> str:
        return formatted(row.total_minor, row.currency)
