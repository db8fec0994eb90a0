"""What the tests of faults ask of a shop: is all that was ordered done, and done once?"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inventory.models import Parcel, Reservation
from orders.models import Order
from payments.models import FakeCharge, Payment
from sagas.models import Run
from tests.asking import stock
from tests.conftest import Processes


def all_are(status: str) -> bool:
    return not Order.objects.exclude(status=status).exists()


def confirmed() -> int:
    return Order.objects.filter(status="confirmed").count()


def all_completed(orders: int) -> bool:
    return Run.objects.filter(status="completed").count() == orders


def state() -> str:
    """Say where orders and runs stand, for who reads a failure."""
    runs = Run.objects.values_list("status", "place", "resends", "failure")
    return f"orders {Counter(Order.objects.values_list('status', flat=True))}, runs {Counter(map(str, runs))}"


def message_ids(processes: Processes) -> list[str]:
    """Return the ids of the mails that arrived."""
    return [path.stem for path in processes.mail.glob("*.eml")]


def assert_all_done_once(orders: int) -> None:
    """Every order of two mugs has one run, one charge, one parcel, and the stock adds up."""
    assert list(Run.objects.values_list("status", flat=True)) == ["completed"] * orders
    assert list(FakeCharge.objects.values_list("status", flat=True)) == ["charged"] * orders
    assert list(Payment.objects.values_list("status", "amount_minor")) == [("captured", 2000)] * orders
    assert list(Reservation.objects.values_list("status", "quantity")) == [("shipped", 2)] * orders
    assert Parcel.objects.count() == orders
    assert stock("MUG") == (100 - 2 * orders, 0)


def clock_off_by(seconds: float) -> dict[str, Any]:
    """Return the environment of a process whose wall clock is off; what measures durations goes on as ever."""
    return _fake_time() | {"FAKETIME": f"{seconds:+g}s"}


def clock_set_by(file: Path) -> dict[str, Any]:
    """Return the environment of a process whose wall clock is off by what stands in a file, as in `+300s`, now."""
    return _fake_time() | {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}


#: Holds a link to the library: names in LD_PRELOAD have neither spaces nor colons, the folder of a checkout may.
_folder = tempfile.TemporaryDirectory(prefix="faketime-", dir="/tmp")


@cache
def _fake_time() -> dict[str, str]:
    found = find_spec("libfaketime")
    assert found is not None
    assert found.origin is not None
    library = Path(_folder.name) / "libfaketime.so.1"
    library.symlink_to(Path(found.origin).with_name("vendor") / "libfaketime/src/libfaketime.so.1")
    environment = {"LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    ask = [sys.executable, "-c", "import time; print(time.time())"]
    told = subprocess.run(
        ask, env=os.environ | environment | {"FAKETIME": "+1000s"}, capture_output=True, text=True, check=True
    )
    assert float(told.stdout) > time.time() + 900, f"{library} does not work here: {told.stderr}"
    return environment
