"""The docs say what the code does: diagrams are generated, named tests exist."""

import re
from pathlib import Path

import pytest

from sagas.core import diagrams
from shop.processes.fulfil_order import fulfil_order

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
CODE = "\n".join(
    path.read_text()
    for folder in (
        "sagas",
        "shop",
        "orders",
        "inventory",
        "payments",
        "notifications",
        "backoffice",
        "embedded",
        "tests",
    )
    for path in (ROOT / folder).rglob("*.py")
)
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])


@pytest.mark.parametrize("drawn", [diagrams.sequence(fulfil_order), diagrams.states()], ids=["sequence", "states"])
def test_the_diagrams_in_the_docs_are_fresh(drawn: str) -> None:
    page = (ROOT / "docs" / "fulfil-order.md").read_text()
    for diagram in drawn.split("\n\n"):
        assert f"```mermaid\n{diagram}\n```" in page, "run `manage.py sagas diagram fulfil-order` and paste it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text()))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for name in named - files if f"def {name}(" not in TESTS} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_holds_a_merge_conflict(page: Path) -> None:
    assert re.findall(r"^(?:<<<<<<<|=======|>>>>>>>)(?: .*)?$", page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_a_page_names_exists(page: Path) -> None:
    named = set(
        re.findall(
            r"`((?:sagas|shop|orders|inventory|payments|notifications|tests|embedded)/[\w/*]+\.py)`", page.read_text()
        )
    )
    assert {name for name in named if not list(ROOT.glob(name))} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_class_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", page.read_text()))
    assert {name for name in named if not re.search(rf"\b{name}\b", CODE)} == set()


def test_every_picture_is_shown_on_a_page() -> None:
    shown = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"!\[[^]]*\]\(([^)]+)", page.read_text())
    }
    assert {path for path in (ROOT / "docs").rglob("images/*") if path.is_file()} == shown


def test_what_the_map_of_questions_names_stands_in_its_file() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"\? \| `([\w/]+\.py)` \| `(\w+)` \|", page)
    assert len(rows) >= 25
    defined = {
        (file, name): re.search(rf"^(?:def |class )?{name}\b", (ROOT / file).read_text(), re.MULTILINE)
        for file, name in rows
    }
    assert [pair for pair, found in defined.items() if found is None] == []


def test_the_page_of_settings_has_every_variable_that_the_shop_reads() -> None:
    code = "\n".join(path.read_text() for folder in ("shop", "embedded") for path in (ROOT / folder).rglob("*.py"))
    read = set(re.findall(r'(?:environment\.\w+|\benv(?:\.\w+)?|environ(?:\.get)?)[(\[]\s*"([A-Z_]+)"', code))
    # PATH is the system's; `make run` tells its web process of the demo login by itself.
    assert (
        read
        - {"PATH", "SHOP_DEMO_LOGIN"}
        - set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text()))
        == set()
    )
    assert len(read) > 25


def test_make_keeps_every_variable_of_the_page_of_settings_from_the_tests() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    variables = set(re.findall(r"`([A-Z_]+)`", rows)) | set(re.findall(r"`(SAGAS_[A-Z_]+)`", page))
    kept = set(re.findall(r"-u ([A-Z_]+)", (ROOT / "Makefile").read_text()))
    # The first two are of `make run`; the targets set the others.
    assert variables - kept == {"PORT", "BIND", "SHOP_VAR", "SHOP_FSYNC"}


@pytest.mark.parametrize("package", ["shop", "sagas"])
def test_the_architecture_names_every_folder_and_module(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    (table,) = re.findall(rf"^\| `{package}/…`[^\n]*\n((?:\|[^\n]*\n)+)", page, re.MULTILINE)
    named = re.findall(r"`([\w./]+)`", "".join(row.split("|")[1] for row in table.splitlines()))
    there = [f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / package).iterdir()]
    assert sorted(named) == sorted(name for name in there if not name.startswith(("__", ".")))
