"""`make` in a checkout of its own."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_the_tests_run_in_a_checkout_whose_folder_has_a_space_in_its_name(tmp_path: Path) -> None:
    checkout = tmp_path / "a shop"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".venv", ".git", "var", "__pycache__", ".*_cache"))
    _give_packages(checkout)
    of_this_run = ("SHOP_", "PYTEST_", "MAKE", "MFLAGS")
    done = subprocess.run(
        ["make", "test", "ARGS=-n 0 tests/unit/shop/test_database.py"],
        check=False,
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.startswith(of_this_run)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rootdir: " + str(checkout) in done.stdout
    assert (checkout / "var/test-1").is_dir()


def _give_packages(checkout: Path) -> None:
    """Let a checkout use the packages of this one, with the stamps that say they are installed."""
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    for stamp, listed in (("runtime", "requirements.txt"), ("development", "requirements-dev.txt")):
        (checkout / f".venv/.{stamp}").write_bytes(
            (checkout / "requirements.txt").read_bytes() + (checkout / listed).read_bytes()
        )
