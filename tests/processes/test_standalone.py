"""The engine in a project that is not the shop: only Django, the engine and an app with a saga of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from tests.conftest import ROOT, Processes, wait_for

Project = Callable[..., str]

BOOKED = ["reserve-flight", "reserve-hotel", "charge-card"]
UNDONE = ["reserve-flight", "reserve-hotel", "cancel-hotel", "cancel-flight", "say-sorry"]


def address(name: str) -> dict[str, Any]:
    known = connection.settings_dict
    return {"ENGINE": known["ENGINE"], "NAME": name} | {part: known[part] for part in ("HOST", "PORT", "USER")}


def connect(name: str) -> psycopg.Connection[tuple[Any, ...]]:
    to = address(name)
    return psycopg.connect(host=to["HOST"], port=to["PORT"] or None, user=to["USER"], dbname=name, autocommit=True)


@pytest.fixture
def environment(transactional_db: None) -> Iterator[dict[str, str]]:
    """Have an empty database of the project's own, on the server of the tests."""
    name = f"{connection.settings_dict['NAME']}_standalone"
    with connect("postgres") as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{name}"')
    yield {
        "DJANGO_SETTINGS_MODULE": "tests.standalone.settings",
        "STANDALONE_DATABASE": json.dumps(address(name)),
        "CELERY_BROKER_URL": settings.CELERY_BROKER_URL,
    }
    with connect("postgres") as server:
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def python(environment: dict[str, str]) -> Project:
    """Run Python in the project; return what it printed."""

    def python(*arguments: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return python


def said(printed: str) -> Any:
    """Return what a script printed last; before it are lines of the log."""
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("has", ["admin", "auth", "bare"])
def test_the_project_has_no_fault_and_its_saga_runs_and_is_undone(python: Project, has: str) -> None:
    assert "no issues" in python("-m", "django", "check", "--fail-level", "WARNING", STANDALONE=has)
    python("-m", "django", "migrate", "--verbosity", "0", STANDALONE=has)
    assert "No changes" in python("-m", "django", "makemigrations", "--check", "--dry-run", STANDALONE=has)
    assert said(python("-c", _DRIVEN, STANDALONE=has)) == {"Rome": BOOKED, "Nowhere": UNDONE}


_DRIVEN = """
import django, json
django.setup()
from sagas.testing import drive
from tests.standalone.trips.models import Entry
from tests.standalone.trips.saga import want
want("Rome")
want("Nowhere", card="empty")
drive()
print(json.dumps({trip: list(Entry.objects.filter(trip=trip).order_by("id").values_list("what", flat=True))
                  for trip in ("Rome", "Nowhere")}))
"""


def test_a_real_worker_finds_the_tasks_of_engine_and_saga_and_does_them(
    processes: Processes, python: Project, environment: dict[str, str], tmp_path: Path
) -> None:
    python("-m", "django", "migrate", "--verbosity", "0")
    python("-c", _WANTED)
    command = ["-m", "celery", "-A", "tests.standalone", "worker", "-c", "1", "-l", "info", "-Q", "sagas,relay,trips"]
    beat = ["--beat", "--schedule", str(tmp_path / "beat"), "--without-gossip", "--without-mingle"]
    worker = processes.run([sys.executable, *command, *beat], **environment)
    with connect(json.loads(environment["STANDALONE_DATABASE"])["NAME"]) as database:

        def ended() -> bool:
            statuses = database.execute("SELECT status FROM sagas_run ORDER BY status").fetchall()
            return statuses == [("completed",), ("undone",)]

        wait_for(ended, seconds=60, why=lambda: processes.log(worker).decode())
        done = database.execute("SELECT trip, what FROM trips_entry ORDER BY id").fetchall()
    assert [what for trip, what in done if trip == "Rome"] == BOOKED
    assert [what for trip, what in done if trip == "Nowhere"] == UNDONE
    assert b"Received unregistered task" not in processes.log(worker)


_WANTED = """
import django
django.setup()
from tests.standalone.trips.saga import want
want("Rome")
want("Nowhere", card="empty")
"""


def test_users_may_act_on_runs_without_the_admin(python: Project) -> None:
    def sagas(*arguments: str) -> str:
        return python("-m", "django", "sagas", *arguments, STANDALONE="auth")

    python("-m", "django", "migrate", "--verbosity", "0", STANDALONE="auth")
    assert said(python("-c", _PERMITTED, STANDALONE="auth")) == ["sagas.change_run", True]
    assert "is paused" in sagas("pause", "Rome", "--reason", "strike")
    assert "book-trip of Rome: paused" in sagas("show", "Rome")
    assert "strike" in sagas("queue")
    assert "goes on" in sagas("resume", "Rome", "--reason", "over")
    assert "without faults" in sagas("check", "--in-flight")


_PERMITTED = """
import django, json
django.setup()
from django.contrib.auth.models import Permission, User
from sagas.db import clock
from sagas.log.relay import relay_events
from sagas.operations.runs import RunSubject
from tests.standalone.trips.saga import want
want("Rome")
relay_events(now=clock.now(), limit=10)
ada = User.objects.create_user("ada")
ada.user_permissions.add(Permission.objects.get(content_type__app_label="sagas", codename="change_run"))
needed = RunSubject.permission("change")
print(json.dumps([needed, ada.has_perm(needed)]))
"""


def test_the_pages_of_the_engine_answer(python: Project) -> None:
    python("-m", "django", "migrate", "--verbosity", "0")
    answers = said(python("-c", _PAGES))
    assert len(answers) >= 12
    assert {page: status for page, status in answers.items() if status != 200} == {}


_PAGES = """
import django, json
django.setup()
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from sagas.testing import drive
from tests.standalone.trips.saga import want
want("Rome")
want("Nowhere", card="empty")
drive()
boss = Client()
boss.force_login(User.objects.create_superuser("boss"))
pages = [reverse("admin:index"), reverse("admin:sagas_queue")]
for model in admin.site._registry:
    if model._meta.app_label == "sagas":
        pages.append(reverse(f"admin:sagas_{model._meta.model_name}_changelist"))
        if (row := model.objects.first()) is not None:
            pages.append(reverse(f"admin:sagas_{model._meta.model_name}_change", args=[row.pk]))
print(json.dumps({page: boss.get(page).status_code for page in pages}))
"""
