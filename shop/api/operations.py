"""The HTTP API; its OpenAPI page is /api/docs. Refusals are problem documents: `problems.py`."""

import secrets
from typing import Annotated, Any
from uuid import UUID

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import NinjaAPI, Query, Status
from ninja.security import HttpBearer

from backoffice.money import formatted
from orders import selectors as catalogue
from orders import services as orders
from orders.errors import OrderRefused, TotalChanged
from orders.selectors import Order
from sagas.db import clock
from shop import catalogue as catalogue_pages
from shop.importing.placing import KEY_PREFIX
from shop.readmodels import feed, order_list

from . import health as shop_health
from .problems import MEDIA_TYPE, Refused, StrictJson, handle_errors, problem
from .schemas import (
    CustomerOrderOut,
    FeedEntryOut,
    HealthOut,
    IdempotencyKey,
    OrderIn,
    OrderOut,
    OrderStoryOut,
    ProductOut,
)
from .story import story_of

logger = structlog.get_logger(__name__)

DESCRIPTION = """
Place orders and see where they stand.

**An accepted order is not yet a confirmed one.** `POST /api/orders` saves the order and answers at once, with status
`pending`; stock is reserved and money taken right after. A product that is sold out, or a card that is declined, is
therefore no error of this API: the order becomes `rejected`, with the `reason` the customer is told. Ask
`GET /api/orders/{id}` until `status` is no longer `pending`.

**Safe to repeat.** Send an `Idempotency-Key`; the same key with the same body answers 201 again with the same order,
and the header `Idempotent-Replayed: true`. The same key with another body is refused with 422.

**No surprise in the price.** Send `expected_total_minor`, what the customer was shown; an order that costs something
else by then is refused with 409, and the document has both figures.

**A customer is an e-mail address**, in small letters: `Ada@Example.com` and `ada@example.com` are one.

**Errors** are problem documents (RFC 9457, `application/problem+json`); `errors` names each wrong field.
"""


class ApiToken(HttpBearer):
    """`Authorization: Bearer` with the token of the setting `API_TOKEN`."""

    def authenticate(self, request: HttpRequest, token: str) -> bool:  # noqa: ARG002
        if not settings.API_TOKEN:
            logger.warning("api_closed", hint="set the environment variable API_TOKEN; without it the API refuses all")
            return False
        return secrets.compare_digest(token.encode(), settings.API_TOKEN.encode())


api = NinjaAPI(
    title="Shop", version="1.0.0", description=DESCRIPTION, urls_namespace="api", auth=ApiToken(), parser=StrictJson()
)
handle_errors(api)


def _order(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "number": order.number,
        "status": order.status,
        "reason": order.reason,
        "customer": {"email": order.customer_email, "name": order.customer_name},
        "payment_method": order.payment_method,
        "currency": order.currency,
        "total_minor": order.total_minor,
        "total": formatted(order.total_minor, order.currency),
        "placed_at": order.placed_at,
        "decided_at": order.decided_at,
        "links": {"self": _address(order)},
    }


def _address(order: Order) -> str:
    return reverse("api:get_order", kwargs={"order_id": order.id})


def _problems(**statuses: str) -> dict[str, Any]:
    """Return OpenAPI's description of refusals: `s404="There is no such order."`."""
    shape = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                },
            },
        },
    }
    return {
        "responses": {
            int(status[1:]): {"description": text, "content": {MEDIA_TYPE: {"schema": shape}}}
            for status, text in statuses.items()
        }
    }


# The operations --------------------------------------------------------------------------------------------------


@api.post(
    "/orders",
    operation_id="place_order",
    response={201: OrderOut},
    tags=["orders"],
    summary="Place an order",
    openapi_extra=_problems(
        s400="The body is not JSON.",
        s401="The token is missing or wrong.",
        s409="The order costs something else than `expected_total_minor`; `total_minor` says what.",
        s413="The body is too large.",
        s415="The body is not announced as JSON.",
        s422="A field is wrong, a SKU is unknown, or the Idempotency-Key was used for another order.",
        s503="The database does not answer; ask again.",
    ),
)
def place_order(
    request: HttpRequest,  # noqa: ARG001
    response: HttpResponse,
    order: OrderIn,
    idempotency_key: IdempotencyKey = None,
) -> Status[dict[str, Any]]:
    """Save an order; it is confirmed or rejected right after. A sold-out product is no error here: see above."""
    if idempotency_key is not None and idempotency_key.startswith(KEY_PREFIX):
        raise Refused(422, "This key cannot be used.", [("Idempotency-Key", f"{KEY_PREFIX} belongs to the import.")])
    try:
        (placed,) = orders.place_many([_request(order, idempotency_key)], now=clock.now())
    except TotalChanged as changed:
        raise Refused(
            409,
            changed.message,
            [(changed.field, changed.message)],
            expected_total_minor=changed.expected_minor,
            total_minor=changed.total_minor,
            currency=changed.currency,
        ) from None
    except OrderRefused as refused:
        raise Refused(422, refused.message, [(refused.field, refused.message)]) from None
    response["Location"] = _address(placed.order)
    if not placed.is_new:
        response["Idempotent-Replayed"] = "true"
    return Status(201, _order(placed.order))


def _request(order: OrderIn, idempotency_key: str | None) -> orders.OrderRequest:
    return orders.OrderRequest(
        customer_email=order.customer.email,
        customer_name=order.customer.name,
        payment_method=order.payment_method,
        lines=[orders.LineRequest(sku=line.sku, quantity=line.quantity) for line in order.lines],
        idempotency_key=idempotency_key,
        expected_total_minor=order.expected_total_minor,
    )


@api.get(
    "/orders/{order_id}",
    operation_id="get_order",
    response=OrderStoryOut,
    tags=["orders"],
    summary="See where an order stands, and why",
    openapi_extra=_problems(s401="The token is missing or wrong.", s404="There is no such order."),
)
def get_order(request: HttpRequest, order_id: UUID) -> dict[str, Any]:  # noqa: ARG001
    """Return the order with its lines, the process that carries it and everything that happened, oldest first."""
    order = catalogue.order(order_id)
    if order is None:
        raise Refused(404, "There is no such order.")
    standing, timeline = story_of(order_id)
    run = {
        "id": standing.run_id,
        "status": standing.run_status,
        "step": standing.step,
        "needs_attention": standing.needs_attention,
        "next_try_at": standing.next_try_at,
    }
    return _order(order) | {
        "lines": list(order.lines.all()),
        "standing": standing.sentence,
        "run": run if standing.run_id else None,
        "timeline": timeline,
    }


Limit = Annotated[int, Query(ge=1, le=100)]


@api.get(
    "/customers/{path:email}/orders",
    operation_id="list_orders_of_customer",
    response=list[CustomerOrderOut],
    tags=["customers"],
    summary="List a customer's orders",
    openapi_extra=_problems(s401="The token is missing or wrong.", s422="The limit is not 1 to 100."),
)
def list_orders_of_customer(request: HttpRequest, email: str, limit: Limit = 20) -> Any:  # noqa: ARG001
    """Return the newest orders of a customer from a read model: about a second behind."""
    return order_list.of_customer(email, limit=limit)


@api.get(
    "/customers/{path:email}/feed",
    operation_id="get_feed_of_customer",
    response=list[FeedEntryOut],
    tags=["customers"],
    summary="See what happened to a customer's orders",
    openapi_extra=_problems(s401="The token is missing or wrong.", s422="The limit is not 1 to 100."),
)
def get_feed_of_customer(request: HttpRequest, email: str, limit: Limit = 20) -> Any:  # noqa: ARG001
    """Return the newest entries first. A new order is there at once; its later events follow about a second later."""
    return feed.of_customer(email, limit=limit)


@api.get(
    "/products",
    operation_id="list_products",
    response=list[ProductOut],
    tags=["catalogue"],
    summary="See what is for sale",
    openapi_extra=_problems(s401="The token is missing or wrong.", s422="A parameter is wrong."),
)
def list_products(
    request: HttpRequest,  # noqa: ARG001
    after: Annotated[str, Query(max_length=40, description="Those behind this SKU.")] = "",
    limit: Annotated[int, Query(ge=1, le=500, description="So many at most.")] = 100,
) -> list[dict[str, Any]]:
    """Return products in the order of their SKUs. A change shows at once, or half a minute later.

    An order is placed at the current prices.
    """
    return catalogue_pages.page(after=after, limit=limit)


@api.get(
    "/health",
    operation_id="get_health",
    response=HealthOut,
    auth=None,
    tags=["operations"],
    summary="Ask whether the shop is well",
    openapi_extra=_problems(s503="The database or the broker does not work; the figures stand in the document."),
)
def get_health(request: HttpRequest) -> Any:  # noqa: ARG001
    """Answer within two seconds.

    `degraded`: events wait too long for the relay, the books are not looked at, no worker serves a queue
    (`silent_queues`, each with its seconds of silence), orders need a person, or findings are open.
    With the broker down orders are still taken; they are carried on once it is back.
    """
    found = shop_health.health()
    document: dict[str, Any] = {
        "database": found.database,
        "broker": found.broker,
        "outbox_lag_seconds": found.outbox_lag_seconds,
        "needing_attention": found.needing_attention,
        "open_findings": found.open_findings,
        "silent_queues": found.silent_queues,
        "reconciled_seconds_ago": found.reconciled_seconds_ago,
    }
    if found.status == "down":
        names = [name for name in ("database", "broker") if not document[name]]
        return problem(503, f"Does not work: {', '.join(names)}.", **document)
    return document | {"status": found.status}
