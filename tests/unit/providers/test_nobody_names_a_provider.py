"""What depends on where machines come from is in the provider's own package: no other code compares its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from scripts import structure

from argosy.config.providers import IMPLEMENTATIONS

OWN_PACKAGES = ("local", "gce")
"""Of vagrant and gce. `local.provider`, how vagrant makes machines, is of the first, too."""


def comparisons(paths: Mapping[str, Path]) -> list[str]:
    """Return MODULE:LINE of each comparison with a provider's name, or of anything's `provider`."""
    return [
        f"{name}:{node.lineno}"
        for name, path in paths.items()
        if structure.unit(name) not in OWN_PACKAGES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Compare, ast.Match)) and any(_names_one(ast) for ast in _compared(node))
    ]


def _compared(node: ast.Compare | ast.Match) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        sides: list[ast.AST] = [node.left, *node.comparators]
    else:
        sides = [node.subject, *(case.pattern for case in node.cases)]
    for side in sides:
        yield from ast.walk(side)


def _names_one(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Constant) and node.value in IMPLEMENTATIONS
    return constant or (isinstance(node, ast.Attribute) and node.attr == "provider")


def test_only_their_own_tasks_import_the_packages_of_vagrant_and_gce() -> None:
    imports = structure.read_imports(structure.modules())
    importers = {
        imported.importer for imported in imports if imported.ours and structure.unit(imported.imported) in OWN_PACKAGES
    }
    assert {name for name in importers if structure.unit(name) not in OWN_PACKAGES} == {"tasks.local", "tasks.gce"}


def test_nobody_else_compares_with_a_provider_s_name() -> None:
    assert comparisons(structure.modules()) == []


@pytest.mark.parametrize(
    "line",
    [
        'if settings.provider == "gce": pass',
        'if word in ("static", "vagrant"): pass',
        "if settings.provider != WANTED: pass",
        'match word:\n    case "vagrant" | "x": pass',
        "match settings.provider:\n    case _: pass",
    ],
)
def test_one_that_does_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "low" / "cellar.py").write_text(line)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "allowed.py").write_text(line)
    assert comparisons(structure.modules(tmp_path)) == ["low.cellar:1"]
