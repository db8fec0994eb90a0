"""The settings of the engine: defaults, what a project may set, and what the system checks say of the rest."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from sagas.conf import Conf, Setting, conf
from sagas.operations.system_checks import check_admin, check_definitions, check_settings

PAGE = Path(__file__).resolve().parents[3] / "docs/your-own-project.md"


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Be a project that has set none of them."""
    bare = SimpleNamespace()
    monkeypatch.setattr("sagas.conf.settings", bare)
    return bare


def defaults() -> dict[str, Any]:
    return {one.name: one.default for one in vars(Conf).values() if isinstance(one, Setting)}


def test_a_project_that_sets_nothing_gets_the_defaults(unset: Any) -> None:
    assert defaults() == {
        "SAGAS_RESEND_AFTER_SECONDS": 20.0,
        "SAGAS_LEASE_SECONDS": 30.0,
        "SAGAS_TRY_SECONDS": 20.0,
        "SAGAS_RELAY_LIMIT": 500,
        "SAGAS_BATCH_SIZE": 100,
        "SAGAS_RELAY": "celery",
        "SAGAS_RECONCILE_SECONDS": 20.0,
        "SAGAS_LOW_PRIORITY": 9,
        "SAGAS_SINGLE_PRIORITY": 6,
    }
    assert {name: getattr(conf, name.removeprefix("SAGAS_")) for name in defaults()} == defaults()
    assert check_settings() == []


def test_a_setting_is_read_in_the_moment_of_use() -> None:
    before = conf.BATCH_SIZE
    with override_settings(SAGAS_BATCH_SIZE=7):
        assert conf.BATCH_SIZE == 7
    assert before == conf.BATCH_SIZE


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SAGAS_BATCH_SIZE", 0, "SAGAS_BATCH_SIZE is 0. Set it to a whole number of at least 1."),
        ("SAGAS_BATCH_SIZE", 1.5, "SAGAS_BATCH_SIZE is 1.5. Set it to a whole number of at least 1."),
        ("SAGAS_BATCH_SIZE", True, "SAGAS_BATCH_SIZE is True. Set it to a whole number of at least 1."),
        ("SAGAS_TRY_SECONDS", "20", "SAGAS_TRY_SECONDS is '20'. Set it to a number of at least 0.1."),
        ("SAGAS_TRY_SECONDS", float("nan"), "SAGAS_TRY_SECONDS is nan. Set it to a number of at least 0.1."),
        ("SAGAS_LEASE_SECONDS", float("inf"), "SAGAS_LEASE_SECONDS is inf. Set it to a number of at least 0.1."),
        ("SAGAS_LEASE_SECONDS", None, "SAGAS_LEASE_SECONDS is None. Set it to a number of at least 0.1."),
        (
            "SAGAS_LOW_PRIORITY",
            10,
            "SAGAS_LOW_PRIORITY is 10. Set it to a whole number of at least 0 and at most 9.",
        ),
        ("SAGAS_RELAY", "cellery", "SAGAS_RELAY is 'cellery'. Set it to 'celery' or 'process'."),
    ],
)
def test_a_value_the_engine_cannot_work_with_is_a_fault_that_says_what_to_do(name: str, value: Any, says: str) -> None:
    with override_settings(**{name: value}):
        assert [(fault.id, fault.msg) for fault in check_settings()] == [("sagas.E007", says)]
        assert check_definitions() == []  # limits are compared once each is right


def test_a_setting_the_engine_does_not_know_is_a_fault() -> None:
    with override_settings(SAGAS_BATCHSIZE=10):
        (fault,) = check_settings()
    assert fault.msg.startswith("SAGAS_BATCHSIZE is no setting of the engine. Remove it, or correct its name: SAGAS_")


def test_whole_numbers_of_seconds_are_numbers_too() -> None:
    with override_settings(SAGAS_TRY_SECONDS=20, SAGAS_RECONCILE_SECONDS=60):
        assert check_settings() == []


def test_queues_that_leave_out_the_engines_are_a_fault() -> None:
    with override_settings(CELERY_TASK_QUEUES=[SimpleNamespace(name="sagas")]):
        told = [fault.msg for fault in check_definitions() if fault.id == "sagas.E003"]
    assert told[0] == "the engine: CELERY_TASK_QUEUES has no queue 'relay'"
    with override_settings(CELERY_TASK_QUEUES=None):
        assert [fault for fault in check_definitions() if fault.id == "sagas.E003"] == []


def test_an_admin_without_unfold_is_a_fault() -> None:
    assert check_admin() == []
    with override_settings(INSTALLED_APPS=[app for app in settings.INSTALLED_APPS if not app.startswith("unfold")]):
        assert [fault.id for fault in check_admin()] == ["sagas.E008"]


def test_the_page_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `(SAGAS_\w+)` \| `?([^|`]+?)`? \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in defaults().items()
    }


def test_no_code_reads_a_setting_of_the_engine_past_its_home() -> None:
    root = PAGE.parents[1]
    found = [
        str(path.relative_to(root))
        for folder in ("sagas", "shop", "orders", "inventory", "payments", "notifications")
        for path in (root / folder).rglob("*.py")
        if "settings.SAGAS_" in path.read_text() and path.name != "conf.py"
    ]
    assert found == []
