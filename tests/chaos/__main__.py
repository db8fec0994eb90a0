"""`python -m tests.chaos`: make trouble, judge, exit 1 on any breach."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from shop import embedded

from . import knobs as turned

#: Whoever calls may have these set for a shop that is in use.
_NOT_OURS = (
    "DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY", "DEBUG", "HTTPS", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS",
    "CURRENCY", "EMAIL_HOST", "LOG_LEVEL", "BIND", "SAGAS_BATCH_SIZE", "DJANGO_SETTINGS_MODULE",
)  # fmt: skip
_LEAVE_SECONDS = 30.0


def main() -> int:
    chosen = turned.read(sys.argv[1:])
    _prepare_environment()
    lock = _own_folder(embedded.var())
    embedded.ensure()

    import django

    django.setup()
    from .run import Run

    with lock:
        return Run(chosen, embedded.var()).run()


def _prepare_environment() -> None:
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    for name, value in turned.HURRIED.items():
        os.environ.setdefault(name, value)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        # A folder below the one that was named: what is in that one is not ours to remove.
        "SHOP_VAR": str(embedded.var() / "chaos"),
        "PORT": str(port),
        "API_TOKEN": secrets.token_hex(),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
    }
    # A service manager's stop and a closed terminal are stops like Ctrl-C, which a shell's `&` would have ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _own_folder(folder: Path) -> Any:
    """Empty the folder of the last run and return the lock that keeps it ours; refuse while somebody uses it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name("chaos.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"chaos: another one runs in {folder}; SHOP_VAR names another place") from None
    deadline = time.monotonic() + _LEAVE_SECONDS
    while any(_is_kept(path) for path in (folder / "run").glob("*.keeper")):
        if time.monotonic() > deadline:
            raise SystemExit(f"chaos: processes of an earlier run still use {folder}")
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    return lock


def _is_kept(path: Path) -> bool:
    lock = embedded.Lock.take(path, fcntl.LOCK_EX)
    if lock is not None:
        lock.release()
    return lock is None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
