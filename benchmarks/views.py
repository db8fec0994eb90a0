"""The API's synchronous twin: it answers when all steps are done."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orders import services as orders
from orders.events import OrderPlaced
from sagas.db import clock

from . import flow, ground


@csrf_exempt
@require_POST
def place_and_fulfil(request: HttpRequest) -> JsonResponse:
    """Save an order, take it through all steps, and answer as the API does."""
    if not secrets.compare_digest(request.headers.get("Authorization", ""), f"Bearer {settings.API_TOKEN}"):
        return JsonResponse({}, status=401)
    asked = _request(json.loads(request.body), request.headers.get("Idempotency-Key"))
    (placed,) = orders.place_many([asked], now=clock.now())
    order = OrderPlaced.read(ground.told(placed.order, asked), version=OrderPlaced.version)
    flow.fulfil(order, str(order.order_id))
    return JsonResponse({"id": str(order.order_id), "number": order.number, "status": "confirmed"}, status=201)


def _request(body: Mapping[str, Any], key: str | None) -> orders.OrderRequest:
    return orders.OrderRequest(
        customer_email=body["customer"]["email"],
        customer_name=body["customer"]["name"],
        payment_method=body["payment_method"],
        lines=[orders.LineRequest(sku=line["sku"], quantity=line["quantity"]) for line in body["lines"]],
        idempotency_key=key,
    )
