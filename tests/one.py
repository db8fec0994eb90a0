"""What contexts do for many, for one: each returns the outcome, or raises it."""

from datetime import datetime

from payments import credit
from payments.models import CreditHold
from sagas.core.outcomes import only


def hold_credit(request: credit.CreditRequest, *, now: datetime) -> CreditHold:
    return only(credit.hold_credit_many([request], now=now))
