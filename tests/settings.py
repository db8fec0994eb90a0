"""Settings of the test run: embedded servers of its own under var/test, beside a shop that may be running."""

import os
import re
from pathlib import Path

for _name in ("DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_HOST", "DEBUG", "API_TOKEN"):
    os.environ.pop(_name, None)
os.environ["SHOP_VAR"] = str(Path(__file__).resolve().parent.parent / "var" / "test")

from shop import embedded  # noqa: E402

embedded.ensure()
# Each xdist process has a Redis database of its own, as it has a PostgreSQL one.
_process = int("".join(re.findall(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
os.environ["CELERY_BROKER_URL"] = embedded.broker_url().replace("virtual_host=0", f"virtual_host={_process}")
os.environ["API_TOKEN"] = "test-token"  # noqa: S105
os.environ["LOG_LEVEL"] = "WARNING"
os.environ["PAYMENTS_TIMEOUT_SECONDS"] = "0.05"

from shop.settings import *  # noqa: E402, F403
