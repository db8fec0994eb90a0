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
        self.log = folder / "worker.log"
        self.log.touch()
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

    def type(self, text: str, *, until: str = "") -> None:
        """Type the commands, the last one again until the page's output is there; what they set stays set."""
        *first, last = text.splitlines()
        printed = self.printed("\n".join(first))
        self.exported += [line for line in first if line.startswith(("export ", ". "))]
        if not until:
            self.printed(last)
            return
        wait_for(
            lambda: same(printed + self.printed(last, may_fail=True)) == same(until),
            seconds=60,
            why=lambda: self.printed(last, may_fail=True) + self.log.read_text(),
        )

    def printed(self, text: str, *, may_fail: bool = False) -> str:
        done = subprocess.run(
            self.command(text),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert may_fail or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, text: str) -> None:
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self.command(f"exec {text.strip()}"),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.started.append(process)


def same(printed: str) -> list[list[str]]:
    return [re.sub(VARIABLE, "", line).split() for line in printed.splitlines() if line.strip()]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    with processes_in(tmp_path) as processes:
        yield Newcomer(tmp_path, processes)


@pytest.mark.timeout(240)
def test_the_page_can_be_typed_from_top_to_bottom(newcomer: Newcomer) -> None:
    for (language, text), (following, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if language == "python":
            newcomer.write(text)
        elif text.startswith("celery "):
            newcomer.start(text)
        elif language == "sh":
            newcomer.type(text, until=shown if following == "text" else "")
    guests = [file.read_text() for file in (newcomer.folder / "hotel").iterdir()]
    assert sorted(guests) == ["Ada", "Grace"]
    assert newcomer.printed(f"python manage.py shell -v 0 -c '{_PAGES}'").split() == ["200"] * 4


_PAGES = """
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
boss = Client(HTTP_HOST="localhost")
boss.force_login(User.objects.create_superuser("boss"))
for page in ("index", "sagas_queue", "sagas_run_changelist", "sagas_event_changelist"):
    print(boss.get(reverse(f"admin:{page}")).status_code)
"""
