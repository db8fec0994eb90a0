"""The catalogue. The pages of an order join several contexts: they are in `shop/admin/`."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from backoffice.edit import EditAdmin
from backoffice.money import formatted

from .models import Product


@admin.register(Product)
class ProductAdmin(EditAdmin):
    """Products are never deleted, because orders refer to them; an inactive one can no longer be ordered."""

    list_display = ("sku", "name", "price", "active")
    list_filter = ("active",)
    search_fields = ("sku__istartswith", "name__icontains")
    search_help_text = "The beginning of a SKU, or any part of the name."
    fields = ("sku", "name", "price_minor", "currency", "active")
    ordering = ("sku",)

    @admin.display(description="price", ordering="price_minor")
    def price(self, product: Product) -> str:
        return formatted(product.price_minor, product.currency)

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        # The warehouse and old orders refer to a product by its SKU.
        return () if obj is None else ("sku", "currency")

    def has_view_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        """Let users who may place orders choose products; the pages of products need the permission to view them."""
        match = request.resolver_match
        chooses = match is not None and match.view_name == "admin:autocomplete"
        return super().has_view_permission(request, obj) or (chooses and request.user.has_perm("orders.add_order"))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"currency": settings.CURRENCY}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Product], search_term: str
    ) -> tuple[QuerySet[Product], bool]:
        found, doubles = super().get_search_results(request, queryset, search_term)
        # An autocomplete field lists only products that can be ordered.
        return (found.filter(active=True) if "field_name" in request.GET else found), doubles
