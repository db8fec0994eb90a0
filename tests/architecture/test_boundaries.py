"""What import-linter cannot see: foreign keys, strings, the Celery app."""

import ast
import re

import pytest
from celery import current_app
from django.apps import apps
from django.db.models import ForeignKey

from .imports import CONTEXTS, ROOT, SOURCES, imported


def test_no_table_refers_to_a_table_of_another_context() -> None:
    crossing = [
        f"{model._meta.label}.{field.name} -> {field.related_model._meta.label}"
        for model in apps.get_models()
        if model._meta.app_label in (*CONTEXTS, "sagas")
        for field in model._meta.get_fields()
        if isinstance(field, ForeignKey) and field.related_model._meta.app_label != model._meta.app_label
    ]
    assert crossing == []


@pytest.mark.parametrize("context", [*CONTEXTS, "sagas"])
def test_no_string_names_another_context(context: str) -> None:
    others = [name for name in CONTEXTS if name != context]
    path = re.compile(rf"^({'|'.join(others)}|shop)(\.\w+)+$")
    named = [
        f"{source.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for source in SOURCES
        if source.is_relative_to(ROOT / context)
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.match(node.value)
    ]
    assert named == []


@pytest.mark.parametrize("suffix", [".py", ".html", ".js", ".css"])
def test_the_engine_speaks_of_no_shop(suffix: str) -> None:
    words = re.compile(
        r"\b(?:an order|orders|order (?:ids?|number|placed)|customers?|payments?|invoices?|refunds?|money|currency"
        r"|minor|carts?|prices?|checkouts?|stock|skus?|shops?|parcels?|shipments?)\b"
    )
    files = [path for path in sorted((ROOT / "sagas").rglob(f"*{suffix}")) if "migrations" not in path.parts]
    assert files
    lines = [
        (path.relative_to(ROOT), number, line)
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
    ]
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in lines if words.search(_words_of(line))]
    assert found == []


def _words_of(line: str) -> str:
    """Return a line with names taken apart: `order placed` for `OrderPlaced`, `order id` for `order_id`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", line).lower()


#: Definitions, events and errors of the core, rows, the outbox, snapshots.
SEEN_BY_CONTEXTS = {
    *(f"sagas.core.{name}" for name in ("errors", "events", "folds", "ids", "outcomes")),
    "sagas.db.rows",
    "sagas.log.outbox",
    "sagas.log.snapshots",
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_context_imports_only_what_the_engine_shows_to_contexts(context: str) -> None:
    modules = {name for path in SOURCES if path.is_relative_to(ROOT / context) for name in imported(path)}
    of_the_engine = {name for name in modules if name.partition(".")[0] == "sagas"}
    assert of_the_engine - SEEN_BY_CONTEXTS == set()
    assert of_the_engine


def test_only_the_wiring_names_what_reacts_to_what() -> None:
    wired = re.compile(r"= ?Subscription\(|^ +Subscription\(", re.MULTILINE)
    registering = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if wired.search(path.read_text()) or _starts_a_saga_it_knows(ast.parse(path.read_text()))
    ]
    assert registering == ["shop/wiring.py"]


def _starts_a_saga_it_knows(module: ast.Module) -> bool:
    """Say whether `starts` is used, but for a call with the parameter of a function: that is any saga."""
    parameters = {node.arg for node in ast.walk(module) if isinstance(node, ast.arg)}
    used = [node for node in ast.walk(module) if isinstance(node, ast.Name) and node.id == "starts"]
    for_any = [
        node.func
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and all(isinstance(arg, ast.Name) and arg.id in parameters for arg in node.args)
    ]
    return any(node not in for_any for node in used)


def test_celery_never_waits_by_eta_or_countdown() -> None:
    waiting = [
        str(path.relative_to(ROOT)) for path in SOURCES if re.search(r"\b(countdown|eta)=|\.retry\(", path.read_text())
    ]
    assert waiting == []


def test_nobody_asks_the_clock_of_the_machine() -> None:
    """What processes compare is told by the database (decision 0010); contexts are told the time."""
    asked = re.compile(r"timezone\.now|datetime\.(now|today|utcnow)\(|time\.time\(")
    # A test's own clock, and beat's, which starts at the wall's time and leaves it behind.
    exempt = {*ROOT.glob("sagas/testing/*.py"), ROOT / "shop/celery.py"}
    asking = [str(path.relative_to(ROOT)) for path in SOURCES if path not in exempt and asked.search(path.read_text())]
    assert asking == []


def test_no_test_brings_a_celery_app_of_its_own() -> None:
    """An app that a test module imports becomes the current one of the main thread, in all tests of the process."""
    assert current_app.main == "shop"
