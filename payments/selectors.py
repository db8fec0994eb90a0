"""Queries of money."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from backoffice.customers import identity
from sagas.log import snapshots
from sagas.log.snapshots import Reached

from .events import CreditHeld, credit_account_id
from .gateway import Method, gateway
from .history import ACCOUNT, AccountState
from .models import CreditAccount, CreditHold, Payment

#: Method of payment by invoice, from the customer's credit.
INVOICE = "invoice"


def ways_to_pay() -> tuple[Method, ...]:
    """Return every way to pay: the provider's methods, and invoices."""
    return (*gateway().methods, Method(code=INVOICE, name="Invoice", note="uses the customer's credit"))


def methods() -> tuple[str, ...]:
    """Return the codes of every way to pay."""
    return tuple(method.code for method in ways_to_pay())


def method_name(code: str) -> str:
    """Return the name of a way to pay; its code if the provider no longer has it."""
    return next((method.name for method in ways_to_pay() if method.code == code), code)


def payments(order_id: UUID) -> QuerySet[Payment]:
    return Payment.objects.filter(order_id=order_id).order_by("made_at")


def credit_hold(order_id: UUID) -> CreditHold | None:
    return CreditHold.objects.select_related("account").filter(order_id=order_id).order_by("-pk").first()


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The money charged and refunded for an order in one currency. Minor units."""

    captured_minor: int = 0
    refunded_minor: int = 0

    @property
    def kept_minor(self) -> int:
        return self.captured_minor - self.refunded_minor


def balances(order_ids: Collection[UUID]) -> dict[UUID, dict[str, Balance]]:
    """Return the balances of the orders with charges, by currency; one statement, however many orders."""
    refunded = Q(status=Payment.Status.REFUNDED)
    rows = (
        Payment.objects.filter(refunded | Q(status=Payment.Status.CAPTURED), order_id__in=order_ids)
        .order_by()
        .values("order_id", "currency")
        .annotate(captured=Sum("amount_minor"), refunded=Sum("amount_minor", filter=refunded, default=0))
    )
    found: dict[UUID, dict[str, Balance]] = defaultdict(dict)
    for row in rows:
        found[row["order_id"]][row["currency"]] = Balance(
            captured_minor=int(row["captured"]), refunded_minor=int(row["refunded"])
        )
    return dict(found)


def credit_held(order_ids: Collection[UUID]) -> dict[UUID, CreditHold]:
    """Return the open credit holds of orders, with their accounts; one statement."""
    holds = CreditHold.objects.filter(order_id__in=order_ids, status=CreditHold.Status.HELD)
    return {hold.order_id: hold for hold in holds.select_related("account")}


def account_by_events(account: CreditAccount) -> Reached[AccountState]:
    """Return the state of an account by its events, from its latest snapshot on; write a new snapshot when it is due.

    Transaction: needs none; three statements at most, however long the account lives.
    """
    subject = credit_account_id(customer_email=account.customer_email, currency=account.currency)
    return snapshots.current(ACCOUNT, aggregate=CreditHeld.aggregate, subject=subject)


def miscounted_accounts(*, emails: Collection[str], order_ids: Collection[UUID]) -> list[tuple[CreditAccount, int]]:
    """Return the accounts whose `held_minor` is not the sum of their open holds, each with that sum.

    It checks the accounts of these customers, and those with holds for these orders; two statements, however many.
    """
    ids = set(CreditHold.objects.filter(order_id__in=order_ids).values_list("account_id", flat=True))
    held = CreditHold.objects.filter(account=OuterRef("pk"), status=CreditHold.Status.HELD).order_by()
    total = held.values("account").annotate(total=Sum("amount_minor")).values("total")
    theirs = Q(customer_email__in=[identity(email) for email in emails])
    accounts = CreditAccount.objects.filter(Q(pk__in=ids) | theirs).annotate(holds_minor=Coalesce(Subquery(total), 0))
    return [(account, int(account.holds_minor)) for account in accounts if account.holds_minor != account.held_minor]


def orders_after(payment_id: UUID | None, *, limit: int) -> list[tuple[UUID, UUID]]:
    """Return the payments after the given one, each as its id and the id of its order; the first ones, for None."""
    rows = Payment.objects.all() if payment_id is None else Payment.objects.filter(id__gt=payment_id)
    return list(rows.order_by("id").values_list("id", "order_id")[:limit])


def accounts_after(email: str, *, limit: int) -> list[str]:
    """Return the customers with a credit account after the given one, in alphabetical order."""
    rows = CreditAccount.objects.filter(customer_email__gt=email).order_by("customer_email")
    return list(rows.values_list("customer_email", flat=True)[:limit])
