"""Chaos that is stopped leaves nothing running, not even a process that it had frozen."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import ROOT, wait_for


def in_folder(folder: Path) -> list[str]:
    """Return the processes, servers and keepers included, that work for the shop in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SHOP_VAR") == str(folder / "chaos"):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_chaos_that_is_stopped_leaves_nothing_running(tmp_path: Path) -> None:
    chaos = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--orders", "500", "--rate", "5", "--fault-every", "0.5", "--seed", "1"],
        cwd=ROOT,
        env=os.environ | {"SHOP_VAR": str(tmp_path), "SHOP_FSYNC": "off"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len([line for line in in_folder(tmp_path) if "worker@" in line]) > 1, seconds=90)
        chaos.send_signal(signal.SIGINT)
        assert chaos.wait(timeout=30) == 130
        wait_for(lambda: not in_folder(tmp_path), why=lambda: "\n".join(in_folder(tmp_path)))
    finally:
        # Never by force: it owns processes that would outlive it.
        chaos.terminate()
        chaos.wait()
