"""Form fields for amounts and currencies; the model fields are integers of minor units and three capitals."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from .money import NotAnAmount, UnknownCurrency, currency_code, decimals, formatted, parsed, plain


def validate_currency(code: str) -> None:
    """Refuse a code that is unknown or not in capitals; a validator of model fields."""
    try:
        decimals(code)
    except UnknownCurrency as unknown:
        raise ValidationError(str(unknown), code="unknown_currency") from None


class CurrencyField(forms.CharField):
    """A currency as people type it, `gbp`; the value is `GBP`."""

    widget = UnfoldAdminTextInputWidget

    def to_python(self, value: Any) -> str:
        typed = super().to_python(value) or ""
        try:
            return currency_code(typed) if typed else ""
        except UnknownCurrency as unknown:
            raise ValidationError(str(unknown), code="unknown_currency") from None


class MoneyField(forms.Field):
    """Money as a decimal amount, 12.95; the value is in minor units.

    Attributes:
        currency: currency of the amount; `MoneyForm` sets it.
    """

    widget = UnfoldAdminTextInputWidget
    currency: str

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.currency = settings.CURRENCY

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:  # noqa: ARG002 - a hook of Django
        return {"inputmode": "decimal"}

    def prepare_value(self, value: Any) -> Any:
        return plain(value, self.currency) if isinstance(value, int) else value

    def to_python(self, value: Any) -> int | None:
        if value in self.empty_values:
            return None
        try:
            minor = parsed(str(value), self.currency)
        except NotAnAmount as wrong:
            raise ValidationError(str(wrong), code="invalid") from None
        if minor <= 0:
            raise ValidationError("It has to be more than nothing.", code="too_small")
        return minor

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(initial != self.to_python(data))
        except ValidationError:
            return True


class MoneyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form of a row with a `currency`: its amounts are in that currency, or in the one typed in the same form."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        currency = self._currency()
        for field in self.fields.values():
            if isinstance(field, MoneyField):
                field.currency = currency

    def _currency(self) -> str:
        typed = (
            self.data.get(self.add_prefix("currency"), "")
            if "currency" in self.fields
            else getattr(self.instance, "currency", "")
        )
        try:
            return currency_code(typed)
        except UnknownCurrency:
            # The error is shown at the currency's own field.
            return str(settings.CURRENCY)


def amount_column(name: str, label: str) -> Callable[[Any], str]:
    """Return a column of the admin that shows an amount of minor units as text for people."""

    @admin.display(description=label, ordering=name)
    def shown(row: Any) -> str:
        minor = getattr(row, name)
        return "-" if minor is None else formatted(minor, row.currency)

    return shown
