"""Receivers that answer a byte at a time, without end, or late."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

OK = b"HTTP/1.1 200 OK\r\n"
#: What each kind sends at once, and what it sends again and again after that.
ANSWERS = {
    "drips its status": (b"", b" "),
    "drips its headers": (OK, b"X-More: 1\r\n"),
    "says Continue for ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips its body": (OK + b"Content-Length: 1000\r\n\r\n", b"."),
    "never ends its body": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"a\r\n0123456789\r\n"),
    "answers late": (b"", OK + b"Content-Length: 0\r\n\r\n"),
}


class BadReceiver:
    """Takes each request, and answers it in its own way, with pauses."""

    def __init__(self, how: str, *, pause_seconds: float) -> None:
        self.calls = 0
        self.sent_bytes = 0
        self._gone = threading.Event()
        at_once, again = ANSWERS[how]
        bad = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    while self._read_request():
                        bad.calls += 1
                        self._send(at_once)
                        while not bad._gone.wait(pause_seconds):
                            self._send(again)
                            if how == "answers late":
                                break

            def _read_request(self) -> bool:
                length = 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                return bool(self.rfile.read(length))

            def _send(self, what: bytes) -> None:
                self.connection.sendall(what)
                bad.sent_bytes += len(what)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 100

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/events"

    def leave(self) -> None:
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def bad_receiver(how: str, *, pause_seconds: float) -> Iterator[BadReceiver]:
    receiver = BadReceiver(how, pause_seconds=pause_seconds)
    try:
        yield receiver
    finally:
        receiver.leave()
