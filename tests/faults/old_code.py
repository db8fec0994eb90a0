"""Makes a worker one of older code, which has not heard of the parcel step yet: `celery worker -I tests.faults.old_code`."""

from typing import Any

from celery.signals import celeryd_init

from shop.celery import app


@celeryd_init.connect
def forget(**_: Any) -> None:
    app.finalize()
    del app.tasks["inventory.book_shipment"]
