"""The root collection: Argosy's namespaces, as any repository mounts them, and this repository's developer tasks."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from bench import tasks as bench
from invoke.collection import Collection
from invoke.context import Context

import argosy
from argosy.tasking import task

ROOT = Path(__file__).resolve().parent
SIDE_BY_SIDE = "-n 3 --dist loadfile --no-loadscope-reorder"
CODE = "lib fabfile installer example bench tests tasks.py"


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
        c.run("shellcheck -x scripts/bootstrap")


@task(help={"only": "unit, integration or e2e; all of them when left out", "k": "pytest's -k"})
def test(c: Context, only: str = "", k: str = "") -> None:
    """Lint, types, then unit, integration and e2e tests, none of them skipped.

    Examples:
        inv test
        inv test --only unit -k routing
    """
    if not only:
        lint(c)
    with c.cd(str(ROOT)):
        if not only and not k:
            # Mostly they wait, so three at a time fit into two cores; e2e tests share the host's machines.
            _python(
                c, f"pytest tests/integration tests/unit {SIDE_BY_SIDE} --cov --cov-report=", ARGOSY_SKIP_NOTHING="1"
            )
            _python(c, "pytest tests/e2e --cov --cov-append --cov-report=term:skip-covered", ARGOSY_SKIP_NOTHING="1")
            return
        folders = " ".join(f"tests/{name}" for name in ([only] if only else ["unit", "integration", "e2e"]))
        wanted = f" -k {shlex.quote(k)}" if k else ""
        _python(c, f"pytest {folders}{wanted}")


@task
def docs(_c: Context) -> None:
    """Write docs/tasks.md anew from the tasks.

    Example: inv docs
    """
    from argosy.task_reference import render_reference

    (ROOT / "docs" / "tasks.md").write_text(render_reference(argosy.ns))


# Invoke takes a module's `ns` before its `namespace`, so `argosy.ns` is not imported by that name.
namespace = Collection(lint, test, docs, Collection.from_module(bench, name="bench"), *argosy.ns.collections.values())
namespace.configure(argosy.ns.configuration())
