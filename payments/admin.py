"""Money in the admin: credit limits can be set; everything else is read only."""

# ruff: noqa: ARG002 - Django hands its hooks more than each of them needs

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from backoffice import keys
from backoffice.customers import identity
from backoffice.edit import EditAdmin
from backoffice.inspect import InspectAdmin, labelled
from backoffice.money import formatted

from . import selectors
from .models import CreditAccount, CreditHold, FakeCharge, Payment


@admin.register(Payment)
class PaymentAdmin(InspectAdmin):
    """Every attempt to take money."""

    key_field = "order_id"
    list_display = ("made_at", "total", "state", "method", "about", "reason")
    list_filter = ("status",)
    search_fields = ("id", "order_id", "key")
    search_help_text = keys.searched("payment id")
    ordering = ("-pk",)

    @admin.display(description="amount")
    def total(self, payment: Payment) -> str:
        return formatted(payment.amount_minor, payment.currency)

    @labelled("status", {"captured": "success", "declined": "danger", "refunded": "warning"})
    def state(self, payment: Payment) -> str:
        return payment.status


@admin.register(CreditAccount)
class CreditAccountAdmin(EditAdmin):
    """Credit limits of customers who pay by invoice."""

    list_display = ("customer_email", "limit", "held", "left")
    search_fields = ("customer_email__startswith",)
    search_help_text = "The beginning of an e-mail address."
    fields = ("customer_email", "limit_minor", "currency", "held", "left", "by_events")
    readonly_fields = ("held", "left", "by_events")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CreditAccount], search_term: str
    ) -> tuple[QuerySet[CreditAccount], bool]:
        return super().get_search_results(request, queryset, identity(search_term))

    @admin.display(description="limit", ordering="limit_minor")
    def limit(self, account: CreditAccount) -> str:
        return formatted(account.limit_minor, account.currency)

    @admin.display(description="held by orders", ordering="held_minor")
    def held(self, account: CreditAccount) -> str:
        return "-" if not account.pk else formatted(account.held_minor, account.currency)

    @admin.display(description="left")
    def left(self, account: CreditAccount) -> str:
        return "-" if not account.pk else formatted(account.available_minor, account.currency)

    @admin.display(description="by its events")
    def by_events(self, account: CreditAccount) -> str:
        if not account.pk:
            return "-"
        reached = selectors.account_by_events(account)
        held, orders = formatted(reached.state.held_minor, account.currency), reached.state.orders
        text = f"{held} held by {_counted(orders, 'order')}, after {_counted(reached.sequence, 'movement')}"
        if reached.state.held_minor == account.held_minor:
            return text
        return f"{text}. The account says otherwise: it was changed by hand."

    def get_readonly_fields(self, request: HttpRequest, obj: CreditAccount | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("customer_email", "currency", *self.readonly_fields)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"currency": settings.CURRENCY}


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what if count == 1 else f'{what}s'}"


@admin.register(CreditHold)
class CreditHoldAdmin(InspectAdmin):
    """Credit held for orders."""

    key_field = "order_id"
    list_display = ("held_at", "account", "total", "state", "about", "released_at")
    list_filter = ("status",)
    list_select_related = ("account",)
    search_fields = ("order_id",)
    search_help_text = keys.searched()
    ordering = ("-pk",)

    @admin.display(description="amount")
    def total(self, hold: CreditHold) -> str:
        return formatted(hold.amount_minor, hold.currency)

    @labelled("status", {"held": "info", "released": "warning"})
    def state(self, hold: CreditHold) -> str:
        return hold.status


@admin.register(FakeCharge)
class FakeChargeAdmin(InspectAdmin):
    """The books of the fake provider."""

    list_display = ("key", "state", "total", "method", "calls")
    list_filter = ("status",)
    search_fields = ("key",)
    search_help_text = "A whole key."
    ordering = ("-pk",)

    @admin.display(description="amount")
    def total(self, charge: FakeCharge) -> str:
        return formatted(charge.amount_minor, charge.currency) if charge.amount_minor else "-"

    @labelled("status", {"charged": "success", "declined": "danger", "refunded": "warning"})
    def state(self, charge: FakeCharge) -> str:
        return charge.status
