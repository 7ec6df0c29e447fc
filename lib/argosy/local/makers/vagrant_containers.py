"""Machines as containers that Vagrant makes and boots; the engine says in milliseconds how they are."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import docker
from docker.models.containers import Container

from argosy import atomic
from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.engine.names import container_name
from argosy.errors import DeadlineExceeded
from argosy.local.makers.base import VAGRANT, Boot
from argosy.local.makers.container import INIT
from argosy.local.makers.engine_containers import EngineContainers
from argosy.local.makers.vagrant import VagrantMachines, has_vagrant
from argosy.model import Machine

ORPHAN_DEADLINE_SECONDS = 120


class VagrantContainers(EngineContainers):
    """The same containers, which `vagrant up` boots and `vagrant ssh` knows (`local.maker` vagrant)."""

    folder_name = VAGRANT

    def __init__(self, settings: Settings, key: Path, client: docker.DockerClient, image: str = "") -> None:
        super().__init__(settings, client, image)
        self.vagrant = _Containers(self, key)

    def up(self, boots: Sequence[Boot], only: Sequence[Machine] = ()) -> None:
        self._wait_for_killed_run()
        super().up(boots, only)

    def destroy(self, machines: Sequence[Machine]) -> Sequence[str]:
        self._wait_for_killed_run()
        return super().destroy(machines)

    def remove(self, machine: Machine) -> bool:
        self._wait_for_killed_run()
        return super().remove(machine)

    def _boot(self, boots: Sequence[Boot], machines: Sequence[Machine]) -> None:
        self.vagrant.up(boots, machines if len(machines) < len(boots) else ())

    def _adopt(self, machine: Machine, container: Container) -> None:
        """Let Vagrant know a container that a killed `vagrant up` made and did not get to write down.

        It is complete: one `docker run` makes it.
        """
        record = self._record(machine)
        record.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_if_changed(record, str(container.id).encode())

    def _forget(self, machine: Machine) -> None:
        self.vagrant.remove(machine)
        if self._record(machine).parents[1].exists():
            rmtree(self._record(machine).parents[1])

    def _forget_all(self, machines: Sequence[Machine]) -> None:
        # Where it is no longer there, the engine removes what it made, and its record goes with the folder.
        if has_vagrant():
            self.vagrant.destroy(machines)

    def _record(self, machine: Machine) -> Path:
        """Return the file in which Vagrant keeps the id of the machine's container."""
        return self.folder / "machines" / "machines" / machine.name / "docker" / "id"

    def _wait_for_killed_run(self) -> None:
        """Wait for the `vagrant` of a run that was killed: it continues, and holds locks in its home folder."""

        def is_over() -> bool:
            return not any(map(_is_locked, (self.vagrant.home / "data").glob("lock.*.lock")))

        if not wait_until(is_over, ORPHAN_DEADLINE_SECONDS):
            raise DeadlineExceeded(
                f"another vagrant has been at work on cluster {self.settings.cluster!r} for "
                f"{ORPHAN_DEADLINE_SECONDS} s: wait for it, or end it, then run the same command again"
            )


class _Containers(VagrantMachines):
    """What Vagrant is told of them."""

    def __init__(self, made: VagrantContainers, key: Path) -> None:
        super().__init__(made.settings, key)
        self._made = made

    def states(self, machines: Sequence[Machine]) -> dict[str, str]:
        return self._made.states(machines)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def _environment(self) -> dict[str, str]:
        # A home of the cluster's own: no box is shared, nothing is left in the user's ~/.vagrant.d.
        return {**super()._environment(), "VAGRANT_HOME": str(self.home)}

    def _request(self, boots: Sequence[Boot]) -> dict[str, Any]:
        return {
            **super()._request(boots),
            "image": self._made.image,
            "create_args": self._made.flags(),
            "cmd": list(INIT),
        }

    def _machine_request(self, boot: Boot) -> dict[str, Any]:
        return {
            **super()._machine_request(boot),
            "container": container_name(self.settings, boot.machine.name),
            "create_args": self._made.flags_of(boot.machine),
        }


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
