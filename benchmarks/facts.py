"""The machine and the versions of a measurement."""

import contextlib
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

import embedded
from sagas.conf import conf

from .knobs import Knobs


def note_commits() -> None:
    """Have PostgreSQL store the commit time of each transaction: so no polling is needed."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW track_commit_timestamp")
        if cursor.fetchone()[0] == "on":
            return
        cursor.execute("ALTER SYSTEM SET track_commit_timestamp = on")
    connection.close()
    server = embedded.Postgres()
    pid = server.pid()
    if pid is not None:
        postmaster = psutil.Process(pid)
        postmaster.send_signal(server.stop_signal)
        psutil.wait_procs([postmaster], timeout=30)
    until = time.monotonic() + embedded.READY_SECONDS
    while not (server.pid() and server.answers()):  # its keeper starts it again
        if time.monotonic() > until:
            raise SystemExit(f"benchmark: PostgreSQL did not come back; see {server.log}")
        time.sleep(0.05)


def collect(knobs: Knobs) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), current_setting('fsync')")
        postgres, fsync = cursor.fetchone()
    return {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": _processor(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "postgresql": postgres,
        "fsync": fsync,
        **{name: version(name) for name in ("django", "celery", "dbos")},
        "batch_size": conf.BATCH_SIZE,
        "orders": knobs.orders,
        "rounds": knobs.rounds,
        "latency_orders": knobs.latency_orders,
        "relay_events": knobs.relay_events,
        "placing_orders": knobs.placing_orders,
        "stored": knobs.stored,
    }


def _processor() -> str:
    """Return the name of the processor; Python knows it on few systems."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
