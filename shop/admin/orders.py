"""The pages of an order, which join the contexts."""

from django.contrib import admin

from orders.models import Order

from .order_list import OrderListAdmin
from .order_page import OrderPageAdmin
from .placing import PlacingAdmin


@admin.register(Order)
class OrderAdmin(OrderListAdmin, PlacingAdmin, OrderPageAdmin):
    """Orders are placed and shown; they cannot be changed or deleted here."""
