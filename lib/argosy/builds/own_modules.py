"""What of this package goes into an image: the modules that the agent, or the installer, imports, and no others.

Some of the agent's are the installer's, by which it reports how the machine is.

So a change of a task or of the provisioning host's code makes no new version of these images.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLER = "argosy_installer"
TEMPLATES = "templates/haproxy"


def agent_files() -> dict[str, Path]:
    """Return the files by their paths in the build context, `argosy/...` and `argosy_installer/...`, sorted."""
    roots = {"argosy": PACKAGE, INSTALLER: PACKAGE / "data/installer" / INSTALLER}
    return _placed(roots, _imported_by(PACKAGE / "agent", roots) | set((PACKAGE / TEMPLATES).glob("*.j2")))


def installer_files(context: Path) -> dict[str, Path]:
    """Return the same for the installer; `context`: the folder with its program, which is in it already."""
    program, roots = context / INSTALLER, {"argosy": PACKAGE}
    # The program that Argosy brings along is in a folder of the package.
    return _placed(roots, {path for path in _imported_by(program, roots) if not path.is_relative_to(program)})


def _placed(roots: dict[str, Path], files: set[Path]) -> dict[str, Path]:
    """Return each file by its path below the innermost root that holds it."""
    placed = {}
    for path in files:
        above = [name for name, root in roots.items() if path.is_relative_to(root)]
        name = max(above, key=lambda name: len(str(roots[name])))
        placed[f"{name}/{path.relative_to(roots[name])}"] = path
    return dict(sorted(placed.items()))


def _imported_by(program: Path, roots: dict[str, Path]) -> set[Path]:
    """Return the files of a program, and of all that it imports of the packages `roots`."""
    found: set[Path] = set()
    waiting = sorted(program.rglob("*.py"))
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        own = path.is_relative_to(program)
        for name in _imports(path, everywhere=own):
            root = name.partition(".")[0]
            if root in roots:
                waiting += _files_of(roots[root], name)
    return found


def _imports(path: Path, everywhere: bool) -> Iterator[str]:
    """Yield the modules that the file imports. What another module than the program's imports inside a function is for
    other users of it, and so is what it imports for its types alone."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else _at_import(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
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
            yield from _at_import([stmt for stmt in getattr(node, field, []) if isinstance(stmt, ast.stmt)])


def _files_of(package: Path, module: str) -> list[Path]:
    """Return the file of a module with the packages around it; none when `module` names none (but a function)."""
    parts = module.split(".")[1:]
    path = package.joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return []
    packages = [package.joinpath(*parts[:count]) / "__init__.py" for count in range(len(parts))]
    return [*packages, file]
