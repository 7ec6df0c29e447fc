"""The pages say what the code does: every key is documented, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from bench import tasks as bench
from invoke.collection import Collection
from pydantic import BaseModel

from argosy import ns
from argosy.config import Settings
from argosy.task_reference import render_reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


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
    changing |= {"service.update", "service.rollback"}
    reading = {
        "gce.auth",
        "gce.list",
        "gce.newest-image",
        "gce.plan",
        "build.versions",
        "registry.list",
        "registry.status",
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
