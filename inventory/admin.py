"""The warehouse in the admin: stock can be corrected; reservations and parcels are read only."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from backoffice import keys
from backoffice.edit import EditAdmin
from backoffice.inspect import InspectAdmin, labelled

from .models import Parcel, Reservation, StockItem


class StockForm(forms.ModelForm):  # type: ignore[type-arg]
    """Corrects stock by a difference: sales while the page is open are not lost."""

    shown = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = StockItem
        fields = ("sku", "on_hand")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["shown"] = self.instance.on_hand if self.instance.pk else None

    def clean_on_hand(self) -> int:
        typed: int = self.cleaned_data["on_hand"]
        shown = self.data.get(self.add_prefix("shown"), "")
        now = self.instance.on_hand + typed - int(shown) if self.instance.pk and shown.isdigit() else typed
        if now < self.instance.reserved:
            raise forms.ValidationError(f"{self.instance.reserved} are promised to orders; there cannot be fewer.")
        return now


@admin.register(StockItem)
class StockItemAdmin(EditAdmin):
    """Stock by SKU, and the reserved part of it."""

    form = StockForm
    list_display = ("sku", "on_hand", "reserved", "left")
    search_fields = ("sku__istartswith",)
    search_help_text = "The beginning of a SKU."
    readonly_fields = ("reserved", "left")
    fields = ("sku", "on_hand", "reserved", "left", "shown")

    @labelled("available", {"sold out": "danger"})
    def left(self, item: StockItem) -> str:
        return str(item.available) if item.available else "sold out"

    def get_readonly_fields(self, request: HttpRequest, obj: StockItem | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("sku", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: StockItem, form: Any, change: bool) -> None:  # noqa: FBT001
        if not change:
            obj.save()
        elif "on_hand" in form.changed_data:
            obj.save(update_fields=["on_hand"])


@admin.register(Reservation)
class ReservationAdmin(InspectAdmin):
    """Stock held for orders."""

    key_field = "order_id"
    list_display = ("sku", "quantity", "state", "about", "reserved_at", "ended_at")
    list_filter = ("status",)
    search_fields = ("order_id",)
    search_help_text = keys.searched()
    ordering = ("-pk",)

    @labelled("status", {"held": "info", "shipped": "success", "released": "warning"})
    def state(self, reservation: Reservation) -> str:
        return reservation.status


@admin.register(Parcel)
class ParcelAdmin(InspectAdmin):
    """Parcels that left the warehouse."""

    key_field = "order_id"
    list_display = ("tracking_number", "about", "booked_at")
    search_fields = ("tracking_number", "order_id")
    search_help_text = keys.searched("tracking number")
    ordering = ("-pk",)
