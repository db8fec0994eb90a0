"""`python -m benchmarks`: measure everything in one run, on its own servers; exit 1 if rows are wrong."""

import os
import secrets
import signal
import sys
from pathlib import Path

import embedded
from tests.chaos.folder import hold_folder, own_folder

from . import knobs as turned

#: The calling shell may have these set for a shop that is in use.
_NOT_OURS = (
    "DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY", "DEBUG", "HTTPS", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS",
    "CURRENCY", "EMAIL_HOST", "BIND", "DJANGO_SETTINGS_MODULE", "PAYMENTS_TIMEOUT_SECONDS",
    "SAGAS_RESEND_AFTER_SECONDS", "SAGAS_LEASE_SECONDS", "SAGAS_TRY_SECONDS", "SAGAS_RECONCILE_SECONDS",
    "CELERY_VISIBILITY_TIMEOUT_SECONDS",
)  # fmt: skip


def main() -> int:
    chosen = turned.read(sys.argv[1:])
    prepare_environment("bench")
    lock = hold_folder(embedded.var()) if chosen.resume else own_folder(embedded.var())
    embedded.ensure()

    import django

    django.setup()
    from .run import Run

    with lock:
        return Run(chosen, embedded.var()).run()


def prepare_environment(folder: str) -> None:
    """Set the environment of the servers and processes of a measurement; their data is in this folder of SHOP_VAR."""
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    os.environ |= {
        # A folder below the named one: the contents of the named one must not be removed.
        "SHOP_VAR": str(embedded.var() / folder),
        "API_TOKEN": secrets.token_hex(),
        "LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
    }
    # A service manager's stop and a closed terminal are stops like Ctrl-C, which a shell's `&` would have ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
