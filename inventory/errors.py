"""Refusals of the warehouse."""

from sagas.core.errors import Rejected


class OutOfStock(Rejected):
    """There is less of a SKU than was ordered; the message is for the customer."""

    def __init__(self, sku: str, *, wanted: int, available: int, name: str = "") -> None:
        product = f"{name} ({sku})" if name else sku
        are = "is" if available == 1 else "are"
        left = f"Only {available:,} of {product} {are} left, and you asked for {wanted:,}."
        super().__init__(left if available else f"{product} is sold out.")
        self.sku, self.wanted, self.available = sku, wanted, available

    def called(self, name: str) -> "OutOfStock":
        """Return the same error with the product's name, which the warehouse does not know."""
        return OutOfStock(self.sku, wanted=self.wanted, available=self.available, name=name)


class ReservedAlready(Rejected):
    """Stock for this order is held, or was sent, under another key."""

    def __init__(self, order_id: object) -> None:
        super().__init__("The goods for this order are set aside already.")
        self.order_id = order_id


class ReservationEnded(Rejected):
    """The reservation under this key was released; the key cannot be used again."""

    def __init__(self, order_id: object) -> None:
        super().__init__("The goods for this order are no longer set aside.")
        self.order_id = order_id


class NothingReserved(Rejected):
    """There is no stock held for this order, so nothing can be shipped."""

    def __init__(self, order_id: object) -> None:
        super().__init__("The goods for this order are no longer set aside.")
        self.order_id = order_id
