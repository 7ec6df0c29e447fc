"""The structure of lib/argosy, read off its import statements: the order of the packages, circles, and what is pure.

`inv docs` draws it into docs/architecture.md; tests/unit/test_layers.py holds the code to it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "lib" / "argosy"
APART = ("data", "templates")
"""Links to what is no code of the library. `tasks` is one, too: to fabfile/, whose name in Python is argosy.tasks."""

ORDER = tuple(
    """
    errors model atomic order text paths stamps report fanout clock beside commandline console
    config providers inventory pki ssh etcd schema rendering routing engine agent images cluster secrets registry builds
    cloudconfig machine releases discovery swarm services draining membership rollouts status
    local gce rotation operators fleet
    tasking reference tasks
    """.split()
)
"""The packages and single modules, from the ground up: each imports only what stands before it."""

IMPURE = frozenset(
    """
    asyncio concurrent docker etcd3 fabric fcntl google grpc http httpx multiprocessing paramiko random requests secrets
    select selectors shutil smtplib socket socketserver sqlite3 ssl subprocess tempfile threading time urllib.request
    uuid vagrant
    """.split()
)
"""What reaches outside: hosts, daemons, clocks, chance. `from argosy import secrets` is not the library's `secrets`."""


@dataclass(frozen=True, slots=True)
class Import:
    """`importer` imports `imported`. Ours are named without `argosy.`; `typing`: under `if TYPE_CHECKING:` alone."""

    importer: str
    imported: str
    ours: bool
    typing: bool = False

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the modules by their names without `argosy.`; a package's is that of its __init__.py."""
    found = {}
    for path in sorted({*package.rglob("*.py"), *package.glob("tasks/*.py")}):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] not in APART and parts != ("__init__",):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def read_imports(paths: Mapping[str, Path]) -> list[Import]:
    """Return what each module imports, wherever in it; a name of a module of ours is that module."""
    return [found for name, path in paths.items() for found in _imports(name, ast.parse(path.read_text()), paths)]


def unit(module: str) -> str:
    """Return the package or single module directly below `argosy` that the module belongs to."""
    return module.partition(".")[0]


def upwards(imports: Iterable[Import], order: Iterable[str] = ORDER) -> list[Import]:
    """Return the imports that lead to a unit that stands later in the order, or in none."""
    places = {name: place for place, name in enumerate(order)}
    none = len(places)
    return [
        imported
        for imported in imports
        if imported.ours and places.get(unit(imported.importer), none) < places.get(unit(imported.imported), none + 1)
    ]


def circles(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the groups that import each other in a circle (Tarjan's strongly connected components), sorted."""
    after: dict[str, set[str]] = {}
    for importer, imported in edges:
        if importer != imported:
            after.setdefault(importer, set()).add(imported)
    return sorted(sorted(group) for group in _components(after) if len(group) > 1)


def module_edges(imports: Iterable[Import]) -> list[tuple[str, str]]:
    return [(imported.importer, imported.imported) for imported in imports if imported.ours]


def unit_edges(imports: Iterable[Import]) -> list[tuple[str, str]]:
    """Return each import between two units once."""
    return sorted({(unit(a), unit(b)) for a, b in module_edges(imports) if unit(a) != unit(b)})


def impurities(paths: Mapping[str, Path], imports: Iterable[Import]) -> list[str]:
    """Return, for each module whose docstring begins with "Pure.", by which way it imports something impure."""
    needs: dict[str, list[Import]] = {}
    for imported in imports:
        if not imported.typing:
            needs.setdefault(imported.importer, []).append(imported)
    for name in paths:  # a package's __init__ is run before its modules
        package = name.rpartition(".")[0]
        if package in paths:
            needs.setdefault(name, []).append(Import(name, package, ours=True))
    pure = [name for name, path in paths.items() if is_pure(path)]
    return [" -> ".join(way) for name in pure if (way := _way_outside(name, needs))]


def is_pure(path: Path) -> bool:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").startswith("Pure.")


def picture(imports: Iterable[Import]) -> str:
    """Return a Mermaid flowchart of the units. An arrow that follows from others is left out."""
    after: dict[str, set[str]] = {}
    for importer, imported in unit_edges(imports):
        after.setdefault(importer, set()).add(imported)
    lines = ["flowchart TD"]
    for importer in reversed(ORDER):
        direct = after.get(importer, set())
        implied = {name for other in direct for name in _reached(other, after)}
        lines += [f"    {importer} --> {name}" for name in reversed(ORDER) if name in direct - implied]
    return "\n".join(lines) + "\n"


def with_picture(page: str) -> str:
    """Return the page with the picture as the code has it now."""
    before, _, rest = page.partition("```mermaid\n")
    return f"{before}```mermaid\n{picture(read_imports(modules()))}```{rest.partition('```')[2]}"


def _imports(name: str, tree: ast.AST, ours: Mapping[str, Path]) -> Iterator[Import]:
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        typing = id(node) in typed
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [str(word.value) for word in node.args[:1] if isinstance(word, ast.Constant)]
        else:
            continue
        for imported in names:
            own = imported.removeprefix("argosy.")
            if own == imported:
                yield Import(name, imported, ours=False, typing=typing)
            else:
                yield Import(name, own if own in ours else own.rpartition(".")[0], ours=True, typing=typing)


def _way_outside(name: str, needs: Mapping[str, list[Import]]) -> list[str]:
    """Return the shortest way of imports from the module to something impure; none when there is none."""
    waiting, seen = [[name]], {name}
    for way in waiting:
        for imported in needs.get(way[-1], []):
            if not imported.ours and any(f"{imported.imported}.".startswith(f"{impure}.") for impure in IMPURE):
                return [*way, imported.imported]
            if imported.ours and imported.imported not in seen:
                seen.add(imported.imported)
                waiting.append([*way, imported.imported])
    return []


def _reached(name: str, after: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for following in after.get(waiting.pop(), set()) - found:
            found.add(following)
            waiting.append(following)
    return found


def _components(after: Mapping[str, set[str]]) -> Iterator[set[str]]:
    reached = {name: _reached(name, after) for name in after}
    done: set[str] = set()
    for name in sorted(after):
        if name in reached[name] and name not in done:
            group = {name} | {other for other in reached[name] if name in reached.get(other, set())}
            done |= group
            yield group
