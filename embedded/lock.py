"""Locks that end with the process that holds them, however it ends."""

import fcntl
import os
from pathlib import Path


class Lock:
    """A `flock` on a file: held by this process and its forks, gone with the last of them."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def take(cls, path: Path, kind: int) -> "Lock | None":
        """Return the lock, or None when another process has it; never waits."""
        lock = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        if lock.turn(kind) and lock.is_current():
            return lock
        lock.release()
        return None

    def turn(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_current(self) -> bool:
        """Say whether the file still has its name; after `rm -rf var` other processes cannot see the lock."""
        try:
            return os.path.samestat(os.fstat(self.fd), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        os.close(self.fd)
