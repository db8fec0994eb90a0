"""The tables of the audit trail, and the cache of each table: the configuration of `manage.py changes`."""

from sagas.core.registry import Audited

from .catalogue import CATALOGUE

#: The audited tables. They have REPLICA IDENTITY FULL: migration 0001.
AUDITED = (
    Audited(table="orders_order", name="number"),
    Audited(table="orders_product", name="sku"),
    Audited(table="inventory_stockitem", name="sku"),
    Audited(table="payments_creditaccount", name="customer_email"),
    Audited(table="payments_payment", name="order_id"),
)

ON_CHANGE = {"orders_product": CATALOGUE.forget}
