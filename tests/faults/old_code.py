"""Makes a worker one of older code, to which the parcel step is news: `celery worker -I tests.faults.old_code`."""

from typing import Any

from celery.signals import celeryd_after_setup

from shop.celery import app


@celeryd_after_setup.connect
def forget(**_: Any) -> None:
    app.finalize()
    del app.tasks["inventory.book_shipment"]
