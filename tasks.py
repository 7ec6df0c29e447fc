"""The root collection: Argosy's namespaces, as any repository mounts them, and this repository's developer tasks."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from bench import tasks as bench
from invoke.collection import Collection
from invoke.context import Context
from scripts import structure, support

import argosy
from argosy.tasking import task

ROOT = Path(__file__).resolve().parent
TESTS = ("unit", "simulation", "integration", "e2e")
SIDE_BY_SIDE = "--dist loadfile --no-loadscope-reorder"
CODE = "lib fabfile installer example bench scripts tests tasks.py"


def _python(c: Context, command: str, **environment: str) -> None:
    c.run(f"{sys.executable} -m {command}", pty=sys.stdout.isatty(), env=environment)


@task
def lint(c: Context) -> None:
    """Check style and types; changes nothing. (shellcheck: `scripts/bootstrap test-packages` brings it.)

    Example: inv lint
    """
    with c.cd(str(ROOT)):
        _python(c, f"ruff check {CODE}")
        _python(c, f"ruff format --check {CODE}")
        _python(c, "mypy")
        c.run("shellcheck -x scripts/bootstrap tests/support/enter_root.sh")


@task(
    help={
        "only": "unit, simulation, integration or e2e, all of them when left out; "
        "or matrix: every journey on every lane; or vm: a virtual machine",
        "k": "pytest's -k",
        "coverage": "report the coverage; more than doubles the time",
    }
)
def test(c: Context, only: str = "", k: str = "", coverage: bool = False) -> None:
    """Lint, types, then unit, simulation, integration and e2e tests, none of them skipped.

    Examples:
        inv test
        inv test --coverage
        inv test --only unit -k routing
        inv test --only matrix
        inv test --only vm
    """
    if not only and not k:
        lint(c)
        _test_everything(c, coverage)
        return
    folders = " ".join(f"tests/{name}" for name in ([only] if only else TESTS))
    with c.cd(str(ROOT)):
        _python(c, f"pytest {folders}" + (f" -k {shlex.quote(k)}" if k else "") + (" --cov" if coverage else ""))


def _test_everything(c: Context, coverage: bool) -> None:
    """Run what needs no machines in four processes, since much of it waits; then what does, which computes, in two."""
    with c.cd(str(ROOT)):
        # Invoke never writes bytecode: hundreds of `inv` and agents would each compile what they import.
        _python(c, "compileall -q lib fabfile installer")
        cover = " --cov --cov-report=term:skip-covered" if coverage else ""
        folders = "tests/integration tests/simulation tests/unit"
        _python(c, f"pytest {folders} -n 4 {SIDE_BY_SIDE}{cover}", ARGOSY_SKIP_NOTHING="1")
        _python(c, f"pytest tests/e2e -n 2 {SIDE_BY_SIDE}", ARGOSY_SKIP_NOTHING="1")


@task
def docs(_c: Context) -> None:
    """Write anew docs/tasks.md, the picture in docs/architecture.md, and docs/support.md from what the tests found.

    Example: inv docs
    """
    from argosy.reference import render_reference

    (ROOT / "docs" / "tasks.md").write_text(render_reference(argosy.ns))
    page = ROOT / "docs" / "architecture.md"
    page.write_text(structure.with_picture(page.read_text()))
    found, virtual = (
        json.loads((ROOT / "tests" / path).read_text()) for path in ("e2e/support.json", "vm/proven.json")
    )
    (ROOT / "docs" / "support.md").write_text(support.render_support(found, virtual))


# Invoke takes a module's `ns` before its `namespace`, so `argosy.ns` is not imported by that name.
namespace = Collection(lint, test, docs, Collection.from_module(bench, name="bench"), *argosy.ns.collections.values())
namespace.configure(argosy.ns.configuration())
