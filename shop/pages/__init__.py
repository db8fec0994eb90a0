"""The admin's pages of an order and of the whole shop; `shop/admin/` uses them."""
