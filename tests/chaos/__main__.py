"""`python -m tests.chaos`: make trouble, judge, exit 1 on any breach."""

import os
import secrets
import signal
import socket
import sys
from pathlib import Path

import embedded

from . import knobs as turned
from .folder import own_folder

#: Whoever calls may have these set for a shop that is in use.
_NOT_OURS = (
    "DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY", "DEBUG", "HTTPS", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS",
    "CURRENCY", "EMAIL_HOST", "LOG_LEVEL", "BIND", "SAGAS_BATCH_SIZE", "DJANGO_SETTINGS_MODULE",
)  # fmt: skip


def main() -> int:
    chosen = turned.read(sys.argv[1:])
    _prepare_environment(chosen.coordination)
    lock = own_folder(embedded.var())
    embedded.ensure()

    import django

    django.setup()
    from .run import Run

    with lock:
        return Run(chosen, embedded.var()).run()


def _prepare_environment(coordination: str) -> None:
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
        "SHOP_COORDINATION": coordination,
    }
    # A service manager's stop and a closed terminal are stops like Ctrl-C, which a shell's `&` would have ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
