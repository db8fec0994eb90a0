"""The configuration of gunicorn: `gunicorn -c shop/platform/gunicorn.py`."""

import http.client
import os
import sys
import threading
import time
from typing import Any

import embedded

HOST = os.environ.get("BIND", "127.0.0.1")
PORT = os.environ.get("PORT", "8000")

wsgi_app = "shop.wsgi"
bind = f"{HOST}:{PORT}"
worker_class = "gthread"
workers = 2
threads = 4
loglevel = "warning"
# Less than the time after which honcho kills.
graceful_timeout = 3
# The control socket is in the home folder, shared by all projects, and may not be writable.
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Register the master as a user of the embedded servers: it outlives its workers."""
    embedded.ensure()
    # WhiteNoise warns if the folder is missing, although the finders serve everything.
    (embedded.var() / "static").mkdir(parents=True, exist_ok=True)


def post_worker_init(worker: Any) -> None:
    """Print the address of the shop once, when the first worker has been loaded."""
    if worker.age == 1:
        threading.Thread(target=_announce, daemon=True).start()


def _announce() -> None:
    deadline = time.monotonic() + 60
    while not (_answers() and _workers_answer()):
        if time.monotonic() > deadline:
            sys.stderr.write(
                f"shop: http://localhost:{PORT}/admin/ does not answer as it should; see the lines above\n"
            )
            return
        time.sleep(0.1)
    sys.stdout.write(_box(f"The shop is ready:  http://localhost:{PORT}/admin/", *_login(), "Ctrl-C stops it."))
    sys.stdout.flush()


def _answers() -> bool:
    address = "127.0.0.1" if HOST == "0.0.0.0" else HOST  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(address, int(PORT), timeout=5)
    try:
        connection.request("GET", "/admin/login/", headers={"Host": f"localhost:{PORT}"})
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def _workers_answer() -> bool:
    """Say whether worker and relay take messages, so that the first order does not wait for them."""
    from shop.celery import app

    return len(app.control.ping(timeout=0.5) or []) >= 2


def _login() -> list[str]:
    """Return the line with the demo login, where `make run` made one."""
    login = os.environ.get("SHOP_DEMO_LOGIN")
    return [f"Login:              {login}"] if login else []


def _box(*lines: str) -> str:
    width = max(map(len, lines))
    edge = "+" + "-" * (width + 4) + "+"
    return "\n".join([edge, *(f"|  {line:<{width}}  |" for line in lines), edge, ""])
