"""The page that places an order."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache

from backoffice.inspect import ModelAdmin, TabularInline
from backoffice.money import decimals, formatted
from inventory import selectors as inventory
from orders import services
from orders.errors import OrderRefused
from orders.models import OrderLine, Product
from sagas.db import clock

from ..pages.order_form import LineForm, LineFormSet, OrderForm, ProductField


class LineInline(TabularInline):
    """The products of a new order."""

    model = OrderLine
    form = LineForm
    formset = LineFormSet
    fields = ("product", "quantity")
    autocomplete_fields = ("product",)
    extra = 3
    max_num = services.MAX_LINES
    verbose_name, verbose_name_plural = "product", "products"
    template_after = "shop/_total.html"

    def get_formset(self, request: Any, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, validate_max=True, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        kwargs |= {"queryset": Product.objects.filter(active=True), "form_class": ProductField}
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None:
            field.error_messages["invalid_choice"] = "There is no such product, or it is no longer for sale."
        return field

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "quantity":
            kwargs |= {"min_value": 1, "max_value": services.MAX_QUANTITY, "initial": 1}
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "product":
            # Without its links to add and change a product: an order is no place for that.
            field.widget = field.widget.widget
        return field

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("orders.add_order")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A row that was never saved can be removed from the page.
        return obj is None


class PlacingAdmin(ModelAdmin):
    """The form that places an order."""

    form = OrderForm
    inlines = (LineInline,)
    add_form_template = "shop/place_order.html"
    fieldsets = (
        (None, {"fields": (("customer_name", "customer_email"), "payment_method", "form_key", "shown_total")}),
    )

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.refused = getattr(request, "refused", None)
        return form

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "payment_method":
            return OrderForm.base_fields["payment_method"]
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def changeform_view(
        self, request: Any, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        extra_context = {"title": "Place an order", **(extra_context or {})}
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except OrderRefused as refused:
            # The transaction was rolled back; the form is shown again with the reason.
            request.refused = refused
            return super().changeform_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """Do nothing: an order is saved with its lines, in `save_related`."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        now = clock.now()
        placed = services.place(
            customer_email=form.cleaned_data["customer_email"],
            customer_name=form.cleaned_data["customer_name"],
            payment_method=form.cleaned_data["payment_method"],
            lines=formsets[0].requests(),
            now=now,
            idempotency_key=f"admin:{form.cleaned_data['form_key']}",
            expected_total_minor=form.cleaned_data["shown_total"],
        )
        form.instance.pk, form.instance.number = placed.pk, placed.number
        form.instance.is_repeat = placed.placed_at != now

    def construct_change_message(self, request: Any, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002
        return [{"added": {}}]

    def log_addition(self, request: Any, obj: Any, message: Any) -> Any:
        return None if obj.is_repeat else super().log_addition(request, obj, message)

    def response_add(self, request: Any, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, f"Order {obj.number} is placed.", messages.SUCCESS)
        if not self.has_view_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        return HttpResponseRedirect(reverse("admin:orders_order_change", args=[obj.pk]))

    def get_urls(self) -> list[Any]:
        prices = self.admin_site.admin_view(never_cache(self.prices))
        return [path("prices/", prices, name="orders_order_prices"), *super().get_urls()]

    def prices(self, request: HttpRequest) -> JsonResponse:
        """Return the prices and the stock of the chosen products, for the page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        ids = [int(pk) for pk in request.GET.getlist("product") if pk.isascii() and pk.isdigit() and len(pk) < 19]
        found = Product.objects.filter(pk__in=ids[:200], active=True)
        left = inventory.available(product.sku for product in found)
        return JsonResponse(
            {
                product.pk: {
                    "price_minor": product.price_minor,
                    "price": formatted(product.price_minor, product.currency),
                    "currency": product.currency,
                    "decimals": decimals(product.currency),
                    "available": left[product.sku],
                }
                for product in found
            }
        )
