"""Settings of the test run: embedded servers of its own, beside a running shop and beside other test runs."""

import fcntl
import os
from itertools import count
from pathlib import Path

_VAR = Path(__file__).resolve().parent.parent / "var"


def _claim_folder() -> str:
    """Return the first of var/test-1, var/test-2, … that no other test run is using."""
    for number in count(1):
        folder = _VAR / f"test-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "session.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            _held.append(lock)
            return str(folder)
    raise AssertionError


_held: list[object] = []

for _name in ("DATABASE_URL", "CELERY_BROKER_URL", "DEBUG"):
    os.environ.pop(_name, None)
# The workers that tests start share the folder of the run they belong to; each of xdist's processes has one of its
# own, for a test may kill its servers.
_process = os.environ.get("PYTEST_XDIST_WORKER", "")
_owner, _, _folder = os.environ.get("SHOP_TEST_VAR", "").partition(":")
os.environ["SHOP_VAR"] = _folder if _folder and _owner == _process else _claim_folder()
os.environ["SHOP_TEST_VAR"] = f"{_process}:{os.environ['SHOP_VAR']}"

import embedded  # noqa: E402

embedded.ensure()
os.environ["CELERY_BROKER_URL"] = embedded.broker_url()
os.environ["API_TOKEN"] = "test-token"
os.environ["LOG_LEVEL"] = "WARNING"
# Recovery in seconds where a shop takes half a minute; a test may set its own for the processes it starts.
os.environ.setdefault("PAYMENTS_TIMEOUT_SECONDS", "0.05")
os.environ.setdefault("SAGAS_RESEND_AFTER_SECONDS", "2")
os.environ.setdefault("SAGAS_LEASE_SECONDS", "3")
os.environ.setdefault("CELERY_VISIBILITY_TIMEOUT_SECONDS", "10")

from shop.settings import *  # noqa: E402, F403

#: Each test client makes the middleware anew, which would list all static files: 15 ms.
WHITENOISE_AUTOREFRESH = True
