"""The admin's order form: filled in, and what it says is wrong."""

from typing import Any
from uuid import uuid4

from django.urls import reverse

from orders.models import Order, Product

ADD = "/admin/orders/order/add/"


def typed(*lines: tuple[str, object], **fields: object) -> dict[str, object]:
    """Return the add page as somebody filled it in; `lines` are SKU and quantity."""
    ids = dict(Product.objects.values_list("sku", "pk"))
    form: dict[str, object] = {
        "customer_name": "Ada Lovelace",
        "customer_email": "ada@example.com",
        "payment_method": "tok_visa",
        "form_key": str(uuid4()),
        "lines-TOTAL_FORMS": len(lines) + 1,
        "lines-INITIAL_FORMS": 0,
        # The row left empty, as the page shows it.
        f"lines-{len(lines)}-product": "",
        f"lines-{len(lines)}-quantity": 1,
    }
    for place, (sku, quantity) in enumerate(lines):
        form |= {f"lines-{place}-product": ids.get(sku, 0), f"lines-{place}-quantity": quantity}
    return form | fields


def page(order: Order) -> str:
    return reverse("admin:orders_order_change", args=[order.pk])


def errors(response: Any) -> dict[str, list[str]]:
    """Return what the page says is wrong, by field."""
    said: dict[str, list[str]] = dict(response.context["adminform"].form.errors)
    formset = response.context["inline_admin_formsets"][0].formset
    for place, line in enumerate(formset.errors):
        said |= {f"lines.{place}.{field}": problems for field, problems in line.items()}
    if formset.non_form_errors():
        said["lines"] = formset.non_form_errors()
    return {field: list(problems) for field, problems in said.items()}
