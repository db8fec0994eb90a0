"""What the admin shows of an order and of the whole shop; `shop/admin.py` hangs it in."""
