"""docs/first-saga.md works: a test types its files and commands in an empty folder and sees what the page shows."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Processes, processes_in, wait_for

PAGE = (ROOT / "docs" / "first-saga.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
#: What differs in each run: moments, and ids of runs.
VARIABLE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Newcomer:
    """Types what the page says in an empty folder, on private servers of that folder."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.folder, self.processes = folder, processes
        self.exported: list[str] = []
        inherited = ("DJANGO_SETTINGS_MODULE", "DATABASE_URL", "CELERY_BROKER_URL", "SHOP_VAR", "PYTHONPATH")
        self.environment = {name: value for name, value in os.environ.items() if name not in inherited}
        self.environment |= {"SHOP_FSYNC": "off"}

    def write(self, text: str) -> None:
        name, _, at_the_end = text.splitlines()[0].removeprefix("# ").partition(", ")
        file = self.folder / name
        with file.open("a" if at_the_end else "w") as opened:
            opened.write(text)

    def command(self, text: str) -> list[str]:
        return ["bash", "-ec", "\n".join([*self.exported, text]).replace("/path/to/shop", str(ROOT))]

    def type(self, text: str) -> str:
        """Run the commands; what they set stays set for those that follow."""
        done = subprocess.run(
            self.command(text),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.exported += [line for line in text.splitlines() if line.startswith(("export ", ". "))]
        return done.stdout

    def start(self, text: str) -> None:
        log = (self.folder / "worker.log").open("wb")
        with log:
            process = subprocess.Popen(
                self.command(f"exec {text.strip()}"),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.started.append(process)

    def sees(self, last: str, shown: str) -> None:
        """Type the last command again until it prints what the page shows."""
        wait_for(
            lambda: same(self.type(last)) == same(shown),
            seconds=60,
            why=lambda: self.type(last) + (self.folder / "worker.log").read_text(),
        )


def same(printed: str) -> list[list[str]]:
    return [re.sub(VARIABLE, "", line).split() for line in printed.splitlines() if line.strip()]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    with processes_in(tmp_path) as processes:
        yield Newcomer(tmp_path, processes)


@pytest.mark.timeout(240)
def test_the_page_can_be_typed_from_top_to_bottom(newcomer: Newcomer) -> None:
    printed, last = "", ""
    for language, text in BLOCKS:
        if language == "python":
            newcomer.write(text)
        elif text.startswith("celery "):
            newcomer.start(text)
        elif language == "sh":
            printed, last = newcomer.type(text), text.splitlines()[-1]
        elif same(printed) != same(text):
            newcomer.sees(last, text)
    guests = [file.read_text() for file in (newcomer.folder / "hotel").iterdir()]
    assert sorted(guests) == ["Ada", "Grace"]
