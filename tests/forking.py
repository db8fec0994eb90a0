"""Starts `celery` in six tenths of the time: forks it from a process that has imported its packages.

Each is a process of its own, in a group of its own, as if its command had been typed.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: What each worker imports of its packages, as far as that reads no settings.
_PACKAGES = [
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "django.contrib.admin",
    "django.contrib.postgres.indexes",
    "django.db.backends.postgresql.base",
    "django.urls",
    "kombu.transport.redis",
    "psycopg",
    "pydantic",
    "redis",
    "structlog",
    "tests.forking",
]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(_PACKAGES)


class Forked:
    """A `celery` of a test; has what the tests use of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        log.touch()
        self._name = f"celery {' '.join(arguments)}"
        self._log = log
        self._process = _server.Process(target=_celery, args=(list(arguments), dict(environment), str(log)))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        with suppress(ProcessLookupError):
            while os.getpgid(self.pid) != self.pid:  # until then it could not be killed with its children
                time.sleep(0.001)

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended.

        Raises:
            TimeoutError: it still runs after these seconds; with its output.
        """
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise TimeoutError(f"{self._name} still runs after {timeout:g} s; its output:\n{self._log.read_text()}")
        return code


def _celery(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """In the new process: be `python -m celery` with these arguments."""
    os.setsid()
    output = os.open(log, os.O_WRONLY)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a killed process has written all it said
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["celery", *arguments]
    from celery.__main__ import main

    main()
