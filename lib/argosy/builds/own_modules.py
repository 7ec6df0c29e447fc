"""What of this package goes into the agent's image: the modules that `argosy.agent` imports, and no others.

So a change of a task or of the provisioning host's code makes no new version of the agent's image.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent
ENTRY = "agent"
TEMPLATES = "templates/haproxy"


def agent_files(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the files by their paths in the build context, `argosy/...`, sorted."""
    found: set[Path] = set()
    waiting = [package / "__init__.py", *sorted((package / ENTRY).rglob("*.py"))]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        own = path.is_relative_to(package / ENTRY)
        waiting += [file for name in _imports(path, everywhere=own) for file in _files_of(package, name)]
    found |= set((package / TEMPLATES).glob("*.j2"))
    return {f"argosy/{path.relative_to(package)}": path for path in sorted(found)}


def _imports(path: Path, everywhere: bool) -> Iterator[str]:
    """Yield the modules of ours that the file imports. What another module than the agent's imports inside a function
    is for other users of it, and so is what it imports for its types alone."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else _at_import(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("argosy."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "argosy":
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from _at_import([it for it in getattr(node, field, []) if isinstance(it, ast.stmt)])


def _files_of(package: Path, module: str) -> list[Path]:
    """Return the file of `argosy.a.b` with the packages around it; none when that names no module (but a function)."""
    parts = module.split(".")[1:]
    path = package.joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return []
    packages = [package.joinpath(*parts[:count]) / "__init__.py" for count in range(1, len(parts))]
    return [*packages, file]
