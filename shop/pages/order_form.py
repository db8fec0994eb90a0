"""The admin's form of an order: a refusal is shown at its field, and nothing is written."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminSelectWidget

from backoffice.customers import identity
from inventory import selectors as inventory
from orders.errors import KeyUsedForAnotherOrder, OrderRefused, TotalChanged
from orders.models import Order, Product
from orders.services import LineRequest
from payments import selectors as payments
from sagas.core.ids import new_id

_PRICE_CHANGED = "A price was changed while this page was open. Place the order again to accept the new total."
_FIELDS = {"customer.name": "customer_name", "customer.email": "customer_email", "payment_method": "payment_method"}


def methods() -> list[tuple[str, str]]:
    """Return every way to pay, with a note about it."""
    return [
        (method.code, f"{method.name}: {method.note}" if method.note else method.name)
        for method in payments.ways_to_pay()
    ]


class OrderForm(forms.ModelForm):  # type: ignore[type-arg]
    """The customer, and the way to pay."""

    #: Refusal by `orders.place` of a valid form; set for the second showing.
    refused: OrderRefused | None = None

    payment_method = forms.ChoiceField(choices=methods, widget=UnfoldAdminSelectWidget)
    #: Idempotency key: one showing of the form places one order, however often it is sent.
    form_key = forms.UUIDField(initial=new_id, widget=forms.HiddenInput)
    #: The total in minor units that the page showed; empty if it could not show one.
    shown_total = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)

    class Meta:
        model = Order
        fields = ("customer_name", "customer_email", "payment_method")
        labels = {"customer_name": "Customer's name", "customer_email": "Customer's e-mail"}

    def clean_customer_email(self) -> str:
        return identity(self.cleaned_data["customer_email"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if isinstance(self.refused, KeyUsedForAnotherOrder):
            self.add_error(None, "This page has placed an order already. Open it anew to place another one.")
        elif isinstance(self.refused, TotalChanged):
            self.add_error(None, f"{self.refused.message} {_PRICE_CHANGED}")
        elif self.refused is not None:
            self.add_error(_FIELDS.get(self.refused.field), self.refused.message)
        return cleaned


class ProductField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A product that can be ordered.

    Attributes:
        chosen: the products of all lines by their id, read together; None on an empty form.
    """

    chosen: Mapping[str, Product] | None = None

    def to_python(self, value: Any) -> Any:
        if self.chosen is None or value in self.empty_values:
            return super().to_python(value)
        if (product := self.chosen.get(str(value))) is None:
            raise forms.ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return product


class LineForm(forms.ModelForm):  # type: ignore[type-arg]
    """One line of the order."""

    def _get_validation_exclusions(self) -> set[str]:
        """Validate a line by its form fields only: the model's validation would make two queries for each line."""
        return {*super()._get_validation_exclusions(), *self.fields}  # type: ignore[misc]

    def has_changed(self) -> bool:
        """A line without a product is empty, whatever its quantity."""
        return bool(self.data.get(self.add_prefix("product"))) if self.is_bound else super().has_changed()


class LineFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """The lines of the order; a product may have several."""

    default_error_messages = {
        **BaseInlineFormSet.default_error_messages,
        "too_many_forms": "An order has %(num)d lines at most; place the rest as another order.",
    }

    @cached_property
    def chosen(self) -> dict[str, Product]:
        typed = {self.data.get(f"{self.add_prefix(place)}-product", "") for place in range(self.total_form_count())}
        ids = [int(pk) for pk in typed if pk.isascii() and pk.isdigit() and len(pk) < 19]
        return {str(product.pk): product for product in Product.objects.filter(pk__in=ids, active=True)}

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        if self.is_bound:
            form.fields["product"].chosen = self.chosen

    def clean(self) -> None:
        super().clean()
        filled = self._filled()
        if not filled:
            raise forms.ValidationError("An order needs at least one product.", code="empty")
        if not any(form.errors for form in filled):
            self._check_stock(filled)

    def _check_stock(self, filled: list[Any]) -> None:
        wanted: dict[str, int] = defaultdict(int)
        for form in filled:
            wanted[form.cleaned_data["product"].sku] += form.cleaned_data["quantity"]
        available = inventory.available(wanted)
        for form in filled:
            left = available[form.cleaned_data["product"].sku]
            if left == 0:
                form.add_error("product", "Sold out.")
            elif wanted[form.cleaned_data["product"].sku] > left:
                form.add_error("quantity", f"Only {left} left.")

    def requests(self) -> list[LineRequest]:
        """Return the requested lines, in the order of the form."""
        return [
            LineRequest(sku=form.cleaned_data["product"].sku, quantity=form.cleaned_data["quantity"])
            for form in self._filled()
        ]

    def _filled(self) -> list[Any]:
        return [form for form in self.forms if form.has_changed() and not form.cleaned_data.get("DELETE")]
