"""The gce operations on a pretended project, here or in a process of their own that can be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from argosy.config.loading import Settings, load
from argosy.gce import balancing, creating, destroying
from compute_api import FakeCompute
from compute_api.project import pretended_project

# Imported once, by the process that all others are forked from.
HEAVY = ["google.cloud.compute_v1", "argosy.gce.creating", "argosy.gce.destroying", "argosy.pki.authority"]
NAMES = ["core1", "core2"]


def quiet(_subject: str, _message: str) -> None:
    """A report that nobody reads."""


def settings_in(root: Path, **gce: Any) -> Settings:
    """Return the settings of the pretended project's folder, as its tasks would load them."""
    document = yaml.safe_load((root / "invoke.yaml").read_text())
    document["gce"] = {"boot_deadline_seconds": 20, "attempts": 4, **gce}
    return load(document, root=root)


DEEDS: dict[str, Callable[[Settings], object]] = {
    "create core": lambda settings: creating.create(settings, "core", NAMES, quiet),
    "create db": lambda settings: creating.create(settings, "db", ["users"], quiet),
    "balancer": lambda settings: balancing.ensure(settings, quiet),
    "remove balancer": lambda settings: balancing.remove(settings, quiet),
    "destroy core2": lambda settings: destroying.destroy(settings, ["core2"], quiet),
    "destroy users": lambda settings: destroying.destroy(settings, ["users"], quiet, with_disks=True),
    "destroy all": lambda settings: destroying.destroy(settings, NAMES, quiet),
}


def perform(root: str, deed: str) -> None:
    """Do it, one request after the other, so that the n-th is always the same."""
    DEEDS[deed](settings_in(Path(root), max_parallel=1))


@dataclass
class Place:
    """A pretended project with its folder. `kept`: what `begin` goes back to."""

    root: Path
    fake: FakeCompute
    kept: dict[str, Any] | None = None

    @property
    def state_folder(self) -> Path:
        return self.root / ".argosy"

    @property
    def settings(self) -> Settings:
        return settings_in(self.root)

    def keep(self) -> None:
        """Let `begin` come back to here."""
        self.kept = self.fake.state.saved()
        shutil.rmtree(self.root / "kept", ignore_errors=True)
        if self.state_folder.exists():
            shutil.copytree(self.state_folder, self.root / "kept")

    def begin(self) -> None:
        assert self.kept is not None
        self.fake.begin(self.kept)
        shutil.rmtree(self.state_folder, ignore_errors=True)
        if (self.root / "kept").exists():
            shutil.copytree(self.root / "kept", self.state_folder)

    def do(self, *deeds: str) -> None:
        """Do it in this process."""
        for deed in deeds:
            perform(str(self.root), deed)

    def killed_at(self, number: int, when: str, deed: str) -> bool:
        """Do it in another process and kill that at a request; return whether it came so far."""
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=perform, args=(str(self.root), deed))
        started, hit = threading.Event(), threading.Event()

        def at(asked: int, moment: str) -> bool:
            started.wait()
            if (asked, moment) == (number, when) and not hit.is_set():
                hit.set()
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)
            return hit.is_set()

        self.fake.faults.at = at
        process.start()
        started.set()
        process.join()
        self.fake.faults.clear()
        assert hit.is_set() or process.exitcode == 0
        return hit.is_set()

    def outcome(self) -> dict[str, Any]:
        """Return the project's and this host's state in a form that two runs can be compared by."""
        return {"project": self.fake.state.snapshot(), "here": self._here()}

    def _here(self) -> dict[str, Any]:
        folder = self.state_folder / "cloud"
        found: dict[str, Any] = {"files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*.yaml"))}
        if (folder / "machines.json").exists():
            found["machines"] = json.loads((folder / "machines.json").read_text())
        if (folder / "gce.json").exists():
            record = json.loads((folder / "gce.json").read_text())
            servers = {name: it["address"] for name, it in record.pop("servers").items()}
            found["record"] = record | {"servers": servers}
        if (folder / "known_hosts").exists():
            lines = (folder / "known_hosts").read_text().splitlines()
            found["pins"] = sorted(line.split()[0] for line in lines if line.startswith("10."))
        return found


@contextmanager
def place(root: Path) -> Iterator[Place]:
    """Give a pretended project; afterwards nothing that it was asked may have been invalid."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(HEAVY)
    with pretended_project(root) as fake:
        yield Place(root, fake)
        assert fake.invalid == []
