"""A folder of servers that one run at a time has to itself, empty at its beginning."""

import fcntl
import shutil
import time
from pathlib import Path
from typing import Any

import embedded

_LEAVE_SECONDS = 30.0


def own_folder(folder: Path) -> Any:
    """Empty the folder of the last run and return the lock that keeps it ours; refuse while somebody uses it."""
    lock = hold_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return lock


def hold_folder(folder: Path) -> Any:
    """As `own_folder`, with what the last run left there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"{folder.name}: another one runs in {folder}; SHOP_VAR names another place") from None
    deadline = time.monotonic() + _LEAVE_SECONDS
    while any(_is_kept(path) for path in (folder / "run").glob("*.keeper")):
        if time.monotonic() > deadline:
            raise SystemExit(f"{folder.name}: processes of an earlier run still use {folder}")
        time.sleep(0.1)
    return lock


def _is_kept(path: Path) -> bool:
    lock = embedded.Lock.take(path, fcntl.LOCK_EX)
    if lock is not None:
        lock.release()
    return lock is None
