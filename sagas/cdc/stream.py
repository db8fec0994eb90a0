"""A connection in replication mode: PostgreSQL sends its log, and receives how far it was read.

Uses libpq through `psycopg.pq`; psycopg itself has no replication protocol.

Source: PostgreSQL, "Streaming Replication Protocol".
"""

import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import OperationalError, connection
from psycopg import pq
from psycopg.conninfo import make_conninfo

from .errors import CannotFollow, MayNotReplicate, SlotInUse, SlotIsLost
from .slots import Slot

_IN_USE, _NO_PRIVILEGE, _UNDEFINED, _NOT_READY = "55006", "42501", "42704", "55000"
#: Much less than wal_sender_timeout (60 s), after which the server closes a silent connection.
_STATUS_SECONDS = 5.0
#: Seconds between two reports of progress: the server saves the slot at each.
_PROGRESS_SECONDS = 0.1
#: Maximum number of messages returned at once, so that the caller can do other work in between.
_AT_ONCE = 5000


class Stream:
    """The stream of one slot.

    Attributes:
        seen: the server has sent everything up to this position of its log.
    """

    def __init__(self, slot: Slot) -> None:
        """Connect and have the server send from the slot's position.

        Raises:
            SlotInUse: another process follows it.
            CannotFollow: it says what to do.
            django.db.OperationalError: the database is away.
        """
        self.slot, self.seen = slot, 0
        self._confirmed, self._reported, self._reported_at = 0, 0, 0.0
        self._server_time = 0
        with _as_django_errors():
            self._pgconn = _connect()
            try:
                self._start()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._pgconn.finish()

    def receive(self, seconds: float) -> list[bytes]:
        """Return the received messages, waiting for the first; none when the time is over."""
        until = time.monotonic() + seconds
        with _as_django_errors():
            while True:
                messages = self._read()
                self._report_when_due()
                left = until - time.monotonic()
                if messages or left <= 0:
                    return messages
                select.select([self._pgconn.socket], [], [], min(left, _STATUS_SECONDS))

    def confirm(self, lsn: int) -> None:
        """Set the position from which the slot begins next time; the server is told soon."""
        self._confirmed = max(self._confirmed, lsn)

    def report(self) -> None:
        """Tell the server our position, now."""
        with _as_django_errors():
            self._report()

    def _start(self) -> None:
        # The command that starts this process checks that names hold no quotes.
        publications = ",".join(f'"{publication.name}"' for publication in self.slot.publications)
        command = (
            f'START_REPLICATION SLOT "{self.slot.name}" LOGICAL 0/0'
            f" (proto_version '1', publication_names '{publications}')"
        )
        result = self._pgconn.exec_(command.encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._failure(result)
        self._pgconn.nonblocking = 1

    def _read(self) -> list[bytes]:
        """Return the received messages, without waiting."""
        self._pgconn.consume_input()
        messages: list[bytes] = []
        while len(messages) < _AT_ONCE:
            count, data = self._pgconn.get_copy_data(1)
            if count == 0:
                break
            if count < 0:
                raise self._failure(self._pgconn.get_result())
            if (message := self._opened(bytes(data))) is not None:
                messages.append(message)
        return messages

    def _opened(self, data: bytes) -> bytes | None:
        """Return the content of an envelope of the replication protocol; a keepalive has none."""
        if data[:1] == b"w":
            _, _, self._server_time = struct.unpack_from(">QQq", data, 1)
            return data[25:]
        end, self._server_time, wants_answer = struct.unpack_from(">Qq?", data, 1)
        self.seen = max(self.seen, end)
        if wants_answer:
            self._report()
        return None

    def _report_when_due(self) -> None:
        since = time.monotonic() - self._reported_at
        if since > _STATUS_SECONDS or (since > _PROGRESS_SECONDS and self._confirmed > self._reported):
            self._report()

    def _report(self) -> None:
        # Written, flushed, applied. The time is only shown by the server; its own will do (decision 0010).
        done = self._confirmed
        self._pgconn.put_copy_data(struct.pack(">cQQQqB", b"r", done, done, done, self._server_time, 0))
        while self._pgconn.flush():
            select.select([self._pgconn.socket], [self._pgconn.socket], [], _STATUS_SECONDS)
            self._pgconn.consume_input()
        self._reported, self._reported_at = done, time.monotonic()

    def _failure(self, result: Any) -> Exception:
        """Return the exception for an unexpected answer of the server."""
        if result is None:
            return OperationalError(f"the server ended the stream: {self._pgconn.get_error_message().strip()}")
        code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        said = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"the stream is over").decode(
            errors="replace"
        )
        detail = (result.error_field(pq.DiagnosticField.MESSAGE_DETAIL) or b"").decode(errors="replace")
        name = self.slot.name
        if code == _IN_USE:
            return SlotInUse(name, said)
        if code == _UNDEFINED and "publication" in said:
            return SlotIsLost(name, f"{said}: it was made anew after changes the slot has yet to read")
        if code == _NOT_READY and ("invalidated" in detail or "can no longer" in said):
            return SlotIsLost(name, detail or said)
        if code == _NO_PRIVILEGE:
            return CannotFollow(f"{said}. {detail}".strip())
        return OperationalError(f"{said} {detail}".strip())


def _connect() -> Any:
    """Open a connection in replication mode, to Django's database."""
    known = {default.keyword.decode() for default in pq.Conninfo.get_defaults()}
    params = {name: value for name, value in connection.get_connection_params().items() if name in known}
    pgconn = pq.PGconn.connect(make_conninfo(**params | {"replication": "database"}).encode())
    if pgconn.status != pq.ConnStatus.OK:
        said = pgconn.get_error_message().strip()
        pgconn.finish()
        # A failed connection has no SQLSTATE; the role's rights were checked before.
        if "REPLICATION" in said:
            raise MayNotReplicate(str(params.get("user", "")))
        raise OperationalError(said)
    return pgconn


@contextmanager
def _as_django_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise OperationalError(str(error).strip()) from error
