"""`make run` as a supervisor: a process that ends is started again, and said; the others do not notice."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, wait_for

SUPERVISE = "import json, sys; from shop.platform import run; sys.exit(run.supervise(json.loads(sys.argv[1])))"


class Supervised:
    """A supervisor in a process of its own, and what it has said so far."""

    def __init__(self, folder: Path, commands: dict[str, str]) -> None:
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, json.dumps(commands)], cwd=ROOT, stdout=said, stderr=said
            )

    def lines(self) -> list[str]:
        return [line.partition("| ")[2] for line in self.said.read_text().splitlines()]

    def pids(self, name: str) -> list[int]:
        """Return the process ids of all that were started by this name."""
        return [int(pid) for line in self.lines() for pid in re.findall(rf"^{name} started \(pid=(\d+)\)$", line)]

    def stop(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()


Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    started: list[Supervised] = []

    def start(**commands: str) -> Supervised:
        started.append(Supervised(tmp_path, commands))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_is_killed_is_started_again_and_the_others_go_on(supervise: Supervise) -> None:
    shop = supervise(web="exec sleep 600", worker="exec sleep 600")
    wait_for(lambda: shop.pids("web") and shop.pids("worker"), why=lambda: str(shop.lines()))
    os.kill(shop.pids("worker")[0], signal.SIGKILL)
    wait_for(lambda: len(shop.pids("worker")) == 2, why=lambda: str(shop.lines()))
    assert shop.lines().count("worker was ended by SIGKILL; it is started again") == 1
    assert len(shop.pids("web")) == 1
    both = [shop.pids("web")[0], shop.pids("worker")[1]]
    assert list(map(runs, both)) == [True, True]
    shop.process.terminate()
    assert shop.process.wait(20) == 128 + signal.SIGTERM
    assert list(map(runs, both)) == [False, False]


def test_all_processes_killed_at_the_same_moment_are_started_again(supervise: Supervise) -> None:
    shop = supervise(web="exec sleep 600", worker="exec sleep 600")
    wait_for(lambda: shop.pids("web") and shop.pids("worker"), why=lambda: str(shop.lines()))
    for name in ("web", "worker"):
        os.kill(shop.pids(name)[0], signal.SIGKILL)
    wait_for(lambda: len(shop.pids("web")) == len(shop.pids("worker")) == 2, why=lambda: str(shop.lines()))
    assert shop.process.poll() is None


def test_a_process_that_ends_too_often_ends_all_and_one_line_says_why(supervise: Supervise) -> None:
    shop = supervise(web="exec sleep 600", worker="echo no such module; exit 3")
    assert shop.process.wait(60) == 3
    assert len(shop.pids("worker")) == 6
    assert shop.lines().count("worker ended with exit code 3; it is started again") == 5
    assert (
        shop.lines().count(
            "worker ended with exit code 3, the 6th end within a minute: the shop stops;"
            " the lines of worker above say why"
        )
        == 1
    )
    assert not runs(shop.pids("web")[0])
