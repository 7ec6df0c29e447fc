"""A project with tiny images (FROM scratch: reading one takes no time) on the real engine, under a name of its own."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from argosy.builds import images as image_builds
from argosy.config.loading import Settings, load
from argosy.config.suites import base_image, host_suite
from argosy.engine.connection import connect
from argosy.engine.containers import remove_labelled
from argosy.engine.names import SYSTEM_LABEL
from argosy.errors import EngineError
from argosy.images.store import CANDIDATE_LABEL, stored_images, untag
from argosy.registry import access
from argosy.registry import container as registry_container
from argosy.registry.trust import CERTIFICATES

ROOT = Path(__file__).resolve().parents[2]
BASE = base_image(host_suite())


@dataclass
class Project:
    """`said`: what was reported."""

    root: Path
    system: str
    images: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        """The configuration: of the project's own images alone."""
        return {
            "system": self.system,
            "images": self.images,
            "discovery": {"enabled": False},
            "clusters": {self.system: {}},
            **self.options,
        }

    @property
    def settings(self) -> Settings:
        return load(self.document, root=self.root)

    def of(self, cluster: str, **section: Any) -> Settings:
        """Return the settings of another cluster of the project: the same CA and password, so it can use the
        registry. `section`: what its section says."""
        own = self.settings.secrets_path
        if own.exists() and not (own.parent / cluster).exists():
            shutil.copytree(own, own.parent / cluster)
        return load({**self.document, "clusters": {cluster: section}}, cluster, root=self.root)

    def report(self, subject: str, message: str) -> None:
        self.said.append(f"{subject}: {message}")

    def write(self, name: str, dockerfile: str = "FROM scratch\nCOPY data /data\n", **files: str) -> None:
        """Make the image `name`, or change its files.

        A first step of this project's own: the classic builder shares the layers of equal steps between all projects,
        and another test that removes its images would take one from under a build that is at its next step.
        """
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(
            dockerfile.replace("FROM scratch\n", f"FROM scratch\nENV PROJECT={self.system}\n")
        )
        for file, text in files.items():
            (folder / file).write_text(text)
        self.images.setdefault(name, {"context": name})

    def tags(self) -> list[str]:
        """Return the versions on the engine, as NAME:VERSION."""
        with connect() as client:
            return sorted(f"{item.name}:{item.version}" for item in stored_images(client, self.system))

    def untagged(self) -> int:
        with connect() as client:
            labels = (f"{SYSTEM_LABEL}={self.system}", f"{CANDIDATE_LABEL}={self.system}")
            filters: list[dict[str, Any]] = [{"dangling": True, "label": label} for label in labels]
            return sum(len(client.api.images(filters=chosen)) for chosen in filters)


@contextmanager
def image_project(root: Path, name: str) -> Iterator[Project]:
    """Yield a project, and remove all that it leaves on the engine."""
    try:
        with connect() as client:
            if not client.images.list(BASE):
                pytest.skip(f"no image {BASE} here: `make base` makes it")
    except EngineError as error:
        pytest.skip(str(error))
    (root / "VERSION").write_text("0.1\n")
    project = Project(root, f"test-{name}-{os.getpid()}")
    try:
        yield project
    finally:
        _remove(project)


@contextmanager
def registry_project(root: Path, name: str) -> Iterator[Project]:
    """Yield a project whose registry runs."""
    with image_project(root, name) as project:
        shutil.copytree(ROOT / "images" / "registry", project.root / "registry")
        project.images["registry"] = {"context": "registry", "push": False}
        project.options["registry"] = {"address": f"127.0.0.1:{free_port()}", "timeout_seconds": 60}
        image_builds.build_images(project.settings, project.report)
        registry_container.start(project.settings, project.report)
        yield project


@contextmanager
def emptied(running: Project) -> Iterator[Project]:
    """Yield a project whose registry runs, with no image but the registry's, here and there."""
    with connect() as client:
        for image in client.api.images(filters={"label": f"{SYSTEM_LABEL}={running.system}"}):
            for reference in image["RepoTags"] or ():
                if not reference.startswith(f"{running.system}/registry:"):
                    untag(client, reference)
    with access.opened(running.settings) as there:
        for item in access.everything_in(there, running.settings, running.report):
            there.delete(access.as_image(running.settings, item).repository, item.digest)
    images, options = {"registry": running.images["registry"]}, {"registry": running.options["registry"]}
    running.images, running.options = deepcopy(images), deepcopy(options)
    running.said.clear()
    try:
        yield running
    finally:
        running.images, running.options = images, options
    registry_container.start(running.settings, running.report)


def _remove(project: Project) -> None:
    with connect() as client:
        remove_labelled(client, {SYSTEM_LABEL: project.system}, ("container", "network", "volume"))
        filters: dict[str, Any] = {"label": f"{SYSTEM_LABEL}={project.system}"}
        for image in client.api.images(filters=filters):
            for reference in image["RepoTags"] or ():
                if reference != "<none>:<none>":
                    untag(client, reference)
        for image in client.api.images(filters=filters):  # stages of builds
            untag(client, image["Id"])
    address = project.settings.registry.address
    if address:
        shutil.rmtree(CERTIFICATES / address, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
