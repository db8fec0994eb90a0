"""Credit accounts, opened by the service, and what is held of them."""

from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from factory.base import Factory
from factory.declarations import LazyFunction, Sequence, SubFactory
from factory.django import DjangoModelFactory

from payments import credit
from payments.models import CreditAccount, CreditHold


class CreditAccountFactory(Factory[CreditAccount]):
    """Credit of a customer, opened by the service."""

    class Meta:
        model = credit.open_credit

    customer_email = "ada@example.com"
    limit_minor = 10**9
    currency = LazyFunction(lambda: settings.CURRENCY)


class CreditHoldFactory(DjangoModelFactory[CreditHold]):
    """Credit held of which the account knows nothing: for what the database refuses and what the books find."""

    class Meta:
        model = CreditHold

    order_id = LazyFunction(uuid4)
    key = Sequence(lambda number: f"key-{number}")
    account = SubFactory(CreditAccountFactory)
    amount_minor = 1
    held_at = LazyFunction(timezone.now)
