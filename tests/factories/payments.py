"""Money: asked for, captured by the service, and rows of states that no service would leave."""

from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from factory.base import Factory
from factory.declarations import LazyFunction, Sequence
from factory.django import DjangoModelFactory

from payments import services as payments
from payments.models import FakeCharge, Payment


class PaymentRequestFactory(Factory[payments.PaymentRequest]):
    class Meta:
        model = payments.PaymentRequest

    order_id = LazyFunction(uuid4)
    amount_minor = 2000
    currency = LazyFunction(lambda: settings.CURRENCY)
    method = "tok_visa"
    key = Sequence(lambda number: f"key-{number}")


class PaymentFactory(DjangoModelFactory[Payment]):
    """Money taken, of which the provider knows nothing."""

    class Meta:
        model = Payment

    order_id = LazyFunction(uuid4)
    key = Sequence(lambda number: f"key-{number}")
    status = Payment.Status.CAPTURED
    amount_minor = 2000
    currency = LazyFunction(lambda: settings.CURRENCY)
    method = "tok_visa"
    made_at = LazyFunction(timezone.now)


class FakeChargeFactory(DjangoModelFactory[FakeCharge]):
    """What the provider did, of which the shop knows nothing."""

    class Meta:
        model = FakeCharge

    key = Sequence(lambda number: f"key-{number}")
    status = FakeCharge.Status.CHARGED
    amount_minor = 2000
    currency = LazyFunction(lambda: settings.CURRENCY)
    method = "tok_visa"
    calls = 1
