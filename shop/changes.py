"""Which rows the audit trail keeps, and what is cached of which table: what `manage.py changes` looks at."""

from sagas.core.registry import Audited

from .catalogue import CATALOGUE

#: What people ask about afterwards. Their tables have REPLICA IDENTITY FULL: migration 0002.
AUDITED = (
    Audited(table="orders_order", name="number"),
    Audited(table="orders_product", name="sku"),
    Audited(table="inventory_stockitem", name="sku"),
    Audited(table="payments_creditaccount", name="customer_email"),
    Audited(table="payments_payment", name="order_id"),
)

ON_CHANGE = {"orders_product": CATALOGUE.forget}
