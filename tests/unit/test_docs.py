"""The pages say what the code does: every key is documented, every link leads somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bench import tasks as bench
from invoke.collection import Collection
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program
from pydantic import BaseModel
from scripts import structure

from argosy import ns, tasking
from argosy.commandline.chain import disagreement
from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.reference import render_reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FOLDERS = ("lib", "fabfile", "installer", "images", "vagrant", "example", "bench", "scripts", "tests", "docs")
LINKS = (ROOT / "lib/argosy/tasks", ROOT / "lib/argosy/data")


def models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in getattr(annotation, "__args__", ()) for found in models(argument)]


def keys(model: type[BaseModel]) -> set[str]:
    found = {field.alias or name for name, field in model.model_fields.items()}
    for field in model.model_fields.values():
        for inner in models(field.annotation):
            found |= keys(inner)
    return found


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", page))))
    assert keys(Settings) - {"root"} - words == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_the_tasks_is_current() -> None:
    assert (ROOT / "docs/tasks.md").read_text() == render_reference(ns), "run `inv docs`"


def test_the_picture_of_the_packages_is_current() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    assert "builds --> registry" in page
    assert page == structure.with_picture(page), "run `inv docs`"


def test_every_task_has_a_summary_an_example_and_help_for_each_flag() -> None:
    for namespace in ns.collections.values():
        for name, task in namespace.tasks.items():
            assert "Example" in (task.__doc__ or ""), name
            for argument in task.get_arguments():
                assert argument.help, f"{name}: {argument.name}"


def test_what_changes_something_has_a_dry_run_and_what_reads_has_json() -> None:
    changing = {"build.images", "build.all", "registry.push", "registry.prune", "local.start", "local.stop"}
    changing |= {"cluster.cloud-config", "cluster.upload-secrets", "cluster.setup", "secrets.rotate"}
    changing |= {"cluster.add-machine", "cluster.remove-machine", "cluster.backup", "cluster.restore"}
    changing |= {"discovery.register", "discovery.deregister", "discovery.drain", "discovery.undrain"}
    changing |= {"gce.create", "gce.destroy", "gce.balancer", "gce.entry-node", "gce.put"}
    changing |= {f"service.{name}" for name in ("submit", "start", "stop", "scale", "destroy", "revive", "import-unit")}
    changing |= {"service.update", "service.rollback", "release.promote"}
    reading = {
        "gce.auth",
        "gce.list",
        "gce.newest-image",
        "gce.plan",
        "build.versions",
        "registry.list",
        "registry.status",
        "release.list",
        "release.show",
        "release.diff",
        "cluster.status",
        "cluster.members",
        "cluster.verify",
        "discovery.list",
        "discovery.watch",
        "discovery.render",
        "local.status",
        "secrets.status",
        "secrets.diff",
        "service.import-unit",
        "service.list",
        "service.show",
    }
    flags = {
        f"{name}.{namespace.transform(task)}": {argument.name for argument in body.get_arguments()}
        for name, namespace in ns.collections.items()
        for task, body in namespace.tasks.items()
    }
    assert {name for name in changing if "dry_run" not in flags[name]} == set()
    assert {name for name in reading if "json" not in flags[name]} == set()


def test_every_command_that_a_message_or_a_page_names_exists() -> None:
    known = {f"{name}.{space.transform(task)}" for name, space in ns.collections.items() for task in space.tasks}
    known |= {f"bench.{task}" for task in Collection.from_module(bench).tasks}
    sources = [*PAGES, *ROOT.glob("lib/argosy/**/*.py"), *ROOT.glob("fabfile/*.py"), *ROOT.glob("scripts/**/*.sh")]
    named = {
        (str(path.relative_to(ROOT)), command)
        for path in sources
        for command in re.findall(r"\binv (?:--help )?([a-z]+\.[a-z][a-z-]*)", path.read_text())
    }
    assert named
    assert {(path, command) for path, command in named if command not in known} == set()


def test_every_example_of_a_task_is_one_that_inv_takes() -> None:
    """Its words and flags are such as the tasks have; of a chain, the tasks agree (argosy.commandline.chain)."""
    examples = {
        (str(page.relative_to(ROOT)), command)
        for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
        for command in re.findall(r"(?:^ *(?:- run: )?|&& |`)inv ([a-z]+\.[a-z][^`#&>|;\n]*)", page.read_text(), re.M)
        if not command.startswith("bench.")
    }
    assert len(examples) > 300
    assert {(page, command, why) for page, command in examples if (why := refusal(command))} == set()


@cache
def tasks() -> list[ParserContext]:
    return list(ns.to_contexts())


def refusal(command: str) -> str:
    """Return why `inv COMMAND` would be refused before any task runs, or an empty string."""
    words = shlex.split(command)
    # The parser copies all contexts that it knows for each line.
    known = [task for task in tasks() if task.name in words]
    try:
        found = Parser(contexts=known, initial=Program(namespace=ns).initial_context).parse_argv(words)
    except (ParseError, ConfigError) as error:
        return str(error)
    return disagreement([tasking._link(context) for context in found if context.name], "local")


# What pages and docstrings name


@cache
def programs() -> dict[Path, ast.Module]:
    """Return every Python file of the repository, parsed. The package's links to other folders are left out."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")] + [ROOT / "tasks.py"]
    own = [path for path in files if not any(path.is_relative_to(link) for link in LINKS)]
    return {path: ast.parse(path.read_text()) for path in own}


@cache
def texts() -> list[tuple[str, str]]:
    """Return where it stands and the text of each page and docstring."""
    found = [(str(page.relative_to(ROOT)), page.read_text()) for page in PAGES]
    for path, tree in programs().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                found.append((str(path.relative_to(ROOT)), text))
    return found


def named(pattern: str) -> set[tuple[str, str]]:
    """Return where something stands that matches `pattern`, and what its group matches."""
    found = {(where, name) for where, text in texts() for name in re.findall(pattern, text)}
    assert found
    return found


@cache
def defined() -> frozenset[str]:
    """Return the names of all functions, classes and parameters, and all short texts: what templates and labels say."""
    names: set[str] = set()
    for tree in programs().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                names.add(node.value)
    return frozenset(names)


def is_importable(name: str) -> bool:
    """Return whether `name` is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part, None)
        return thing is not None
    return False


def test_every_file_that_a_page_or_a_docstring_names_exists() -> None:
    paths = named(rf"(?<![\w/.$~-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w)")
    assert {(where, path) for where, path in paths if not (ROOT / path).exists()} == set()
    files = {path.name for path in programs()}
    assert {(where, name) for where, name in named(r"(?<![\w/.-])(\w+\.py)\b") if name not in files} == set()


def test_every_test_that_a_page_or_a_docstring_names_exists() -> None:
    known = defined() | {path.stem for path in programs()}
    assert {(where, name) for where, name in named(r"\b(test_\w+)") if name not in known} == set()


def test_every_module_that_a_page_or_a_docstring_names_exists() -> None:
    """Or is the name of a label, of which the last word may be an example's: `argosy.moving.MACHINE`."""
    labels = {text for text in defined() if text.startswith("argosy.")}
    names = {(where, re.sub(r"\.[A-Z]+$", "", name)) for where, name in named(r"`(argosy(?:\.\w+)+)`")}
    unknown = {(where, name) for where, name in names if not is_importable(name)}
    assert {(where, name) for where, name in unknown if not any(label.startswith(name) for label in labels)} == set()


def test_every_function_that_a_page_or_a_docstring_names_exists() -> None:
    assert {(where, name) for where, name in named(r"`(\w+)\([^`]*\)`") if name not in defined()} == set()


def test_what_is_named_by_its_module_is_there() -> None:
    """As in `module.function`: of a module that the file imports by this name, else of one of this name anywhere.

    What has the name of a module may be a namespace of tasks, a section of the settings, a parameter or a text as well.
    """
    modules = [
        ".".join(path.relative_to(ROOT / "lib").with_suffix("").parts).removesuffix(".__init__")
        for path in programs()
        if path.is_relative_to(ROOT / "lib" / "argosy")
    ]
    known = keys(Settings)
    known |= {space.transform(task).replace("-", "_") for space in ns.collections.values() for task in space.tasks}
    texts_and_files = defined() | {path.name for path in programs()}
    wrong = set()
    for where, name in named(r"`(\w+\.[a-z]\w+)(?:\([^`]*\))?`"):
        first, second = name.split(".")
        meant = imported(ROOT / where).get(first) or [module for module in modules if module.endswith(f".{first}")]
        if (
            not meant
            or second in known
            or name in texts_and_files
            or first in parameters(ROOT / where)
            or hasattr(str, second)
        ):
            continue
        if not any(is_importable(f"{module}.{second}") for module in meant):
            wrong.add((where, name))
    assert wrong == set()


@cache
def imported(path: Path) -> dict[str, list[str]]:
    """Return what the names that a Python file imports stand for; nothing of a page."""
    imports = (
        [node for node in ast.walk(programs()[path]) if isinstance(node, ast.ImportFrom)]
        if path.suffix == ".py"
        else []
    )
    return {name.asname or name.name: [f"{node.module}.{name.name}"] for node in imports for name in node.names}


@cache
def parameters(path: Path) -> frozenset[str]:
    """Return the names of parameters and attributes in a Python file; nothing of a page."""
    nodes = list(ast.walk(programs()[path])) if path.suffix == ".py" else []
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return frozenset(attributes | {node.arg for node in nodes if isinstance(node, ast.arg)})
