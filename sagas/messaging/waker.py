"""Wakes the relay after a commit, so that an event does not wait for beat's next message."""

import contextlib
import os
import threading

from celery import current_app

from ..conf import RELAY_QUEUE


class Waker:
    """Sends the relay's message from its own thread, so that a commit never waits for the broker.

    Commits during the sending of one message share the next one. A lost message only costs time: beat wakes the relay
    each second.
    """

    def __init__(self) -> None:
        self.reset()
        # A forked process has no threads: it starts with a fresh one.
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget the thread and its requests."""
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Request a message to the relay; returns at once."""
        self._wanted.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="wake-relay", daemon=True)
                    self._thread.start()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            with contextlib.suppress(Exception):  # the broker may be away: beat wakes the relay
                current_app.send_task("sagas.relay", queue=RELAY_QUEUE, retry=False)


waker = Waker()
