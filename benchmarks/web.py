"""The web process as the Procfile has it, and clients that ask it for orders."""

import http.client
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from orders.services import OrderRequest

from . import processes
from .contenders import procfile
from .processes import Process

OURS, SYNCHRONOUS = "/api/orders", "/synchronous/orders"


class Web:
    """A running gunicorn."""

    def __init__(self, logs: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        more = {"PORT": str(self.port), **environment}
        self.process: Process = processes.shell("web", procfile()["web"], log=logs / "web.log", **more)
        try:
            processes.wait_for(self._answers, processes=[self.process], every_seconds=0.1)
        except BaseException:  # no other code knows the process yet
            processes.kill([self.process])
            raise

    def _answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/api/health")
            return connection.getresponse().status == 200
        return False


def ask(
    port: int, path: str, asked: Sequence[OrderRequest], *, clients: int, rate: float | None = None
) -> tuple[list[str], list[float]]:
    """Ask for orders over connections that are kept; return their ids, and how many seconds each answer took.

    Args:
        rate: requests a second; None for as many as the clients get answered.
    """
    waiting: queue.SimpleQueue[tuple[int, OrderRequest]] = queue.SimpleQueue()
    for item in enumerate(asked):
        waiting.put(item)
    answers: list[tuple[str, float]] = []
    refused: list[str] = []
    began_at = time.monotonic()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with suppress(queue.Empty):
            while not refused:
                number, request = waiting.get_nowait()
                if rate is not None:
                    time.sleep(max(0.0, began_at + number / rate - time.monotonic()))
                asked_at = time.monotonic()
                status, answer = _post(connection, path, request)
                if status == 201:
                    answers.append((answer["id"], time.monotonic() - asked_at))
                else:
                    refused.append(f"{status} {answer}")
        connection.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused or len(answers) != len(asked):
        raise SystemExit(f"benchmark: POST {path} was refused: {' '.join(refused) or 'no answer'}")
    return [key for key, _ in answers], [seconds for _, seconds in answers]


def _post(connection: http.client.HTTPConnection, path: str, asked: OrderRequest) -> tuple[int, dict[str, Any]]:
    body = {
        "customer": {"email": asked.customer_email, "name": asked.customer_name},
        "lines": [{"sku": line.sku, "quantity": line.quantity} for line in asked.lines],
        "payment_method": asked.payment_method,
    }
    headers = {
        "Authorization": f"Bearer {settings.API_TOKEN}",
        "Content-Type": "application/json",
        "Idempotency-Key": os.urandom(12).hex(),
    }
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())
