"""Our modules, and what each imports, read from the source."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONTEXTS = ("orders", "inventory", "payments", "notifications")
SOURCES = [
    path
    for package in (*CONTEXTS, "sagas", "embedded", "shop", "backoffice")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
]


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, also inside functions and for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = _module_of(node, path)
            names = {f"{module}.{each.name}" for each in node.names}
            found |= {name if _is_module(name) else module for name in names}
    return found


def graph() -> dict[str, set[str]]:
    """Return the modules that each of our modules imports; others are left out."""
    names = {path: _name(path) for path in SOURCES}
    ours = set(names.values())
    return {name: imported(path) & ours - {name} for path, name in names.items()}


def _module_of(node: ast.ImportFrom, path: Path) -> str:
    package = path.relative_to(ROOT).parent.parts
    above = package[: len(package) + 1 - node.level] if node.level else ()
    return ".".join([*above, *([node.module] if node.module else [])])


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()
