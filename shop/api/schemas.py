"""The schemas of the API's requests and answers; the OpenAPI page shows them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from ninja import Header
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orders import services as orders
from orders.errors import OrderRefused
from orders.selectors import Order
from payments import selectors as payments

# What comes in ---------------------------------------------------------------------------------------------------


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("Control characters are not allowed.")
    return text


def _way_to_pay(method: str) -> str:
    if method not in payments.methods():
        raise ValueError(f"Not a way to pay here; one of {', '.join(payments.methods())}.")
    return method


def _name(text: str) -> str:
    try:
        return orders.checked_name("customer.name", text)
    except OrderRefused as refused:
        raise ValueError(refused.message) from None


Text = Annotated[str, AfterValidator(_one_line)]


class _Asked(BaseModel):
    """Accepts only the exact types and no unknown field: a mistyped name must not be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class CustomerIn(_Asked):
    email: Text = Field(max_length=254, examples=["ada@example.com"])
    name: Annotated[str, AfterValidator(_name)] = Field(min_length=1, max_length=200, examples=["Ada Lovelace"])


class LineIn(_Asked):
    sku: Text = Field(min_length=1, max_length=40, examples=["MUG-BLUE"])
    quantity: int = Field(ge=1, le=orders.MAX_QUANTITY, examples=[2])


class OrderIn(_Asked):
    customer: CustomerIn
    lines: list[LineIn] = Field(min_length=1, max_length=orders.MAX_LINES)
    payment_method: Annotated[Text, AfterValidator(_way_to_pay)] = Field(examples=["tok_visa"])
    expected_total_minor: int | None = Field(
        default=None,
        ge=1,
        le=orders.MAX_MINOR,
        description="What the customer was shown; an order that costs something else by now is refused with 409.",
        examples=[2590],
    )


#: Visible ASCII; a header can carry no more.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[\x20-\x7e]{1,255}$")]


# What goes out ---------------------------------------------------------------------------------------------------


class _Out(BaseModel):
    """An answer, read from the attributes of an object."""

    model_config = ConfigDict(from_attributes=True)


class LinksOut(BaseModel):
    self: str


class ProductOut(BaseModel):
    """The price is in minor units of the currency; `price` is for people."""

    sku: str
    name: str
    currency: str
    price_minor: int
    price: str


class OrderOut(BaseModel):
    """Amounts are in minor units of the currency; `total` is for people."""

    id: UUID
    number: str
    status: Order.Status
    reason: str
    customer: dict[str, str]
    payment_method: str
    currency: str
    total_minor: int
    total: str
    placed_at: datetime
    decided_at: datetime | None
    links: LinksOut


class LineOut(_Out):
    sku: str
    name: str
    quantity: int
    unit_price_minor: int


class RunOut(BaseModel):
    """The process that carries the order; there is none for the moment it takes to start."""

    id: UUID
    status: str
    step: str
    needs_attention: bool
    next_try_at: datetime | None


class EntryOut(_Out):
    """One thing that happened; further kinds may come, and further values of `data`.

    A failed try (`attempt`) has the kind of its failure as `status`: `rejected`, `retryable`, `unexpected`, or
    `unknown`: no answer came.
    """

    at: datetime
    kind: str = Field(examples=["event", "step", "attempt", "payment", "notification", "delivery", "intervention"])
    title: str
    status: str
    detail: str
    duration_seconds: float | None
    data: dict[str, Any]


class OrderStoryOut(OrderOut):
    """An order with all that happened to it; `standing` is one sentence for people."""

    lines: list[LineOut]
    standing: str
    run: RunOut | None
    timeline: list[EntryOut]


class CustomerOrderOut(_Out):
    """An order as its customer's page shows it; up to some seconds old."""

    order_id: UUID
    number: str
    status: str
    reason: str
    currency: str
    total_minor: int
    contents: str
    placed_at: datetime
    decided_at: datetime | None
    paid: bool = Field(description="A card was charged and not refunded; an order by invoice is not paid yet.")
    tracking_number: str
    told_at: datetime | None


class FeedEntryOut(_Out):
    """One thing that happened to an order of a customer; further words may come."""

    order_id: UUID
    number: str
    what: str = Field(examples=["placed", "confirmed", "rejected", "cancelled", "shipped", "refunded"])
    note: str
    at: datetime = Field(validation_alias="moment")


class HealthOut(BaseModel):
    status: str
    database: bool
    broker: bool
    outbox_lag_seconds: float | None
    needing_attention: int | None
    open_findings: int | None
    silent_queues: dict[str, float] | None
    reconciled_seconds_ago: float | None
