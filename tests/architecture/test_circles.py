"""Modules do not import each other in a circle, not even inside a function or for types only."""

from collections.abc import Mapping

from .imports import graph


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module."""
    reached = {module: _reached(module, imports) for module in imports}
    found = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in imports
        if module in reached[module]
    }
    return sorted(sorted(circle) for circle in found)


def _reached(module: str, imports: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    open_ = set(imports[module])
    while open_:
        reached |= open_
        open_ = {further for each in open_ for further in imports[each]} - reached
    return reached


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = graph()
    assert len(imports) > 200
    assert circles(imports) == []


def test_circles_are_found_apart_and_without_the_modules_that_only_use_them() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"e"}, "e": {"f"}, "f": {"d", "g"}, "g": set[str]()}
    assert circles(imports) == [["b", "c"], ["d", "e", "f"]]


def test_imports_inside_functions_and_of_types_count() -> None:
    imports = graph()
    assert "sagas.core.registry" in imports["sagas.apps"], "inside a function"
    assert "sagas.operations.subject" in imports["sagas.operations.runs"], "from the own package"
    assert "sagas.models" in imports["sagas.operations.runs"], "from a package above"
    assert "sagas.operations.queries" in imports["sagas.operations.runs"], "a module by its name"
