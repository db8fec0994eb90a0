"""What the admin shows of an order and of the whole shop; `shop/admin/` hangs it in."""
