"""Wakes the relay after a commit, so that an event does not wait for the next second."""

import contextlib
import os
import threading

from celery import current_app

from ..conf import RELAY_QUEUE


class Waker:
    """Sends the relay's message from a thread of its own, so that a commit never waits for the broker.

    Commits that come while one message is on its way share the next one. A message that is lost costs nothing but
    time: beat wakes the relay each second.
    """

    def __init__(self) -> None:
        self.reset()
        # A forked process has no threads: it starts with a fresh one.
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget the thread and what it was asked for."""
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the relay woken soon; returns at once."""
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
            with contextlib.suppress(Exception):  # whatever the broker says
                current_app.send_task("sagas.relay", queue=RELAY_QUEUE, retry=False)


waker = Waker()
