"""How an order is typed into the admin: what can be refused is refused at its field, and nothing is written."""

from collections import defaultdict
from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet
from unfold.widgets import UnfoldAdminSelectWidget

from inventory import selectors as inventory
from orders.errors import KeyUsedForAnotherOrder, OrderRefused
from orders.models import Order
from orders.services import LineRequest
from payments import selectors as payments
from sagas.core.ids import new_id

#: What the fake provider's test methods do, for whoever tries the shop.
_WHAT_IT_DOES = {
    "tok_visa": "Visa card: works",
    "tok_chargeDeclined": "Declined card: the bank says no",
    "tok_flaky": "Flaky card: fails twice, then works",
    "tok_lostReply": "Lost reply: charged, but the answer gets lost",
    "tok_down": "Provider down: never answers",
    "invoice": "Invoice: uses the customer's credit (try credit@example.com)",
}

_FIELDS = {"customer.name": "customer_name", "customer.email": "customer_email", "payment_method": "payment_method"}


def methods() -> list[tuple[str, str]]:
    """Return every way to pay, with what it does."""
    return [(method, f"{_WHAT_IT_DOES.get(method, method)} · {method}") for method in payments.methods()]


class OrderForm(forms.ModelForm):  # type: ignore[type-arg]
    """Who orders, and how they pay."""

    #: What `orders.place` said no to after the form had said yes; set for the second showing.
    refused: OrderRefused | None = None

    payment_method = forms.ChoiceField(choices=methods, widget=UnfoldAdminSelectWidget)
    #: One showing of the form places one order, however often it is sent.
    form_key = forms.UUIDField(initial=new_id, widget=forms.HiddenInput)

    class Meta:
        model = Order
        fields = ("customer_name", "customer_email", "payment_method")
        labels = {"customer_name": "Customer's name", "customer_email": "Customer's e-mail"}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if isinstance(self.refused, KeyUsedForAnotherOrder):
            self.add_error(None, "This page has placed an order already. Open it anew to place another one.")
        elif self.refused is not None:
            self.add_error(_FIELDS.get(self.refused.field), self.refused.message)
        return cleaned


class LineForm(forms.ModelForm):  # type: ignore[type-arg]
    """One product of the order."""

    def has_changed(self) -> bool:
        """A line without a product is an empty one, whatever quantity stands beside it."""
        return bool(self.data.get(self.add_prefix("product"))) if self.is_bound else super().has_changed()


class LineFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """The products of the order, each once or several times."""

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
        """Return what was asked for, in the order of the lines."""
        return [
            LineRequest(sku=form.cleaned_data["product"].sku, quantity=form.cleaned_data["quantity"])
            for form in self._filled()
        ]

    def _filled(self) -> list[Any]:
        return [form for form in self.forms if form.has_changed() and not form.cleaned_data.get("DELETE")]
