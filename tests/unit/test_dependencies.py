"""What the library imports is what it declares, and the other way round; and all of that is locked."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHARED = {
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud": "google-cloud-compute",
    "google.protobuf": "protobuf",
}
"""Which distribution brings a part of a namespace that several share."""


def plain(name: str) -> str:
    """Return the normalised name of a distribution, of `name` or of a requirement that begins with it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", name, maxsplit=1)[0]).lower()


def declared() -> set[str]:
    extras = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
    return {plain(dependency) for dependency in [*PROJECT["dependencies"], *extras]}


def imported() -> dict[str, str]:
    """Return the distributions that the library imports, each with a file that does."""
    installed, found = packages_distributions(), {}
    for path in [*(ROOT / "lib/argosy").rglob("*.py"), *(ROOT / "fabfile").rglob("*.py")]:
        for module in imports(ast.parse(path.read_text())):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("argosy", "argosy_installer", "_typeshed"):
                continue
            shared = SHARED.get(".".join(module.split(".")[:2]))
            found[plain(shared or installed[top][0])] = str(path.relative_to(ROOT))
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that are imported, be it by `import_module("...")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Name("import_module"), args=[ast.Constant(str(module))]):
                yield module


def test_what_is_imported_is_declared() -> None:
    assert {name: path for name, path in imported().items() if name not in declared()} == {}


def test_what_is_declared_is_imported() -> None:
    assert declared() - imported().keys() == set()


def test_what_is_declared_is_locked() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert declared() - {plain(line) for line in lines if "==" in line and line[0] not in " #"} == set()


def test_an_import_is_found_wherever_it_stands() -> None:
    text = "import a.b\ndef f():\n    from c import d\n    import_module('e.f')"
    assert list(imports(ast.parse(text))) == ["a.b", "c.d", "e.f"]
