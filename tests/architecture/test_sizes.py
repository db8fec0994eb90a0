"""Modules and functions stay as long as a reader can hold in mind."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "shop",
    "orders",
    "inventory",
    "payments",
    "notifications",
    "sagas",
    "backoffice",
    "embedded",
    "benchmarks",
    "tests",
)

MAX_LINES = 300
#: Of tests, which stand side by side and are read one at a time.
MAX_LINES_OF_TESTS = 400
MAX_LINES_OF_A_FUNCTION = 60


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if "migrations" not in path.parts]


def cap(path: Path) -> int:
    return MAX_LINES_OF_TESTS if path.is_relative_to(ROOT / "tests") else MAX_LINES


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_module_is_too_long() -> None:
    too_long = {name(path): lines(path) for path in sources() if lines(path) > cap(path)}
    assert too_long == {}


def test_no_function_is_too_long() -> None:
    too_long = [
        f"{name(path)}:{node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_LINES_OF_A_FUNCTION
    ]
    assert too_long == []
