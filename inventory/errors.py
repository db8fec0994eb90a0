"""How the warehouse refuses."""

from sagas.core.errors import Rejected


class OutOfStock(Rejected):
    """There is less of a SKU than was asked for."""

    def __init__(self, sku: str, *, wanted: int, available: int) -> None:
        super().__init__(f"{sku} is out of stock: {wanted} wanted, {available} available.")
        self.sku, self.wanted, self.available = sku, wanted, available


class ReservedAlready(Rejected):
    """Something else holds, or has sent, stock for this order."""

    def __init__(self, order_id: object) -> None:
        super().__init__("Stock is held for this order already.")
        self.order_id = order_id


class ReservationEnded(Rejected):
    """What was held under this key has been given back; the key is spent."""

    def __init__(self, order_id: object) -> None:
        super().__init__("The stock held for this order was given back.")
        self.order_id = order_id


class NothingReserved(Rejected):
    """There is no stock held for this order, so nothing can be shipped."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"No stock is held for order {order_id}.")
        self.order_id = order_id
