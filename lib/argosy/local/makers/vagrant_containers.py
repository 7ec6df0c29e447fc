"""Machines as containers: Vagrant makes and boots them; the engine says in milliseconds how they are."""

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
from argosy.engine.connection import refusals
from argosy.engine.containers import find_container, labels_on, remove_container
from argosy.engine.names import container_name, is_own, labels_of, network_name, refuse_foreign
from argosy.engine.ownership import remove_own
from argosy.errors import DeadlineExceeded, EngineError, Refused
from argosy.fanout import fan_out, joined
from argosy.local.makers.base import ABSENT, RUNNING, STOPPED, Boot
from argosy.local.makers.container import INIT, cgroup_version, machine_flags, own_flags, parse_host_keys
from argosy.local.makers.vagrant import HOST_KEYS, VagrantMachines
from argosy.model import Machine

ORPHAN_DEADLINE_SECONDS = 120
STOP_SECONDS = 20
STOPS_AT_ONCE = 5
CONSOLE_LINES = 20
_STATES = {"running": RUNNING, "exited": STOPPED, "created": STOPPED, "dead": STOPPED}


class VagrantContainers(VagrantMachines):
    """Containers with systemd on the provisioning host's engine (`local.provider` docker).

    `image`: the local reference of the machine image.
    """

    def __init__(self, settings: Settings, key: Path, client: docker.DockerClient, image: str = "") -> None:
        super().__init__(settings, key)
        self.client = client
        self.image = image

    def up(self, boots: Sequence[Boot], only: Sequence[Machine] = ()) -> None:
        self._wait_for_killed_run()
        for boot in boots:
            if only and boot.machine not in only:
                continue
            container = self._container(boot.machine)
            if container is None:
                self._make_volume(boot.machine)
            else:
                self._adopt(boot.machine, container)
            self._write_seed(boot)
        super().up(boots, only)

    def states(self, machines: Sequence[Machine]) -> dict[str, str]:
        with refusals("machines"):
            found = {machine.name: self._container(machine) for machine in machines}
        return {
            name: _STATES.get(container.status, container.status) if container else ABSENT
            for name, container in found.items()
        }

    def host_keys(self, machine: Machine) -> Sequence[str]:
        container = self._container(machine)
        if container is None or container.status != "running":
            return []
        with refusals(machine.name):
            code, output = container.exec_run(list(HOST_KEYS))
        return parse_host_keys(bytes(output).decode(errors="replace")) if code == 0 else []  # type: ignore[arg-type]

    def destroy(self, machines: Sequence[Machine]) -> Sequence[str]:
        """Remove the containers with their volumes, then Vagrant's own record of them.

        They are stopped first, all at once (Vagrant would take one after the other) and not killed: on cgroup v1 the
        cgroups of a killed machine's own containers stay behind on the host.
        """
        self._wait_for_killed_run()
        joined(fan_out({machine.name: machine for machine in machines}, self._stop, max_parallel=STOPS_AT_ONCE))
        removed = list(super().destroy(machines))
        swept = remove_own(self.client, self.settings, "machine", ("container", "volume"))
        if self.folder.exists():
            rmtree(self.folder)
        return [*removed, *(name for name in swept if name.startswith("container"))]

    def remove(self, machine: Machine) -> bool:
        """Remove the container with its volume and all that Vagrant knows of it, stopped first as in `destroy`."""
        self._wait_for_killed_run()
        container = self._container(machine)
        if container is not None:
            self._adopt(machine, container)
            self._stop(machine)
        found = super().remove(machine)
        with refusals(machine.name):
            left = self._container(machine)
            if left is not None:
                remove_container(left)
            disk = self._remove_volume(machine)
        for folder in (self._seed(machine), self._record(machine).parents[1]):
            if folder.exists():
                rmtree(folder)
        return found or container is not None or disk

    def _stop(self, machine: Machine) -> None:
        container = self._container(machine)
        if container is not None and container.status == "running":
            with refusals(machine.name):
                container.stop(timeout=STOP_SECONDS)

    def console(self, machine: Machine) -> str:
        container = self._container(machine)
        if container is None:
            return ""
        with refusals(machine.name):
            return b"".join(container.logs(tail=CONSOLE_LINES, stream=True)).decode(errors="replace")

    def _container(self, machine: Machine) -> Container | None:
        return find_container(self.client, container_name(self.settings, machine.name))

    def _seed(self, machine: Machine) -> Path:
        return self.folder / "seed" / machine.name

    def _write_seed(self, boot: Boot) -> None:
        """Lay the cloud-config where cloud-init's NoCloud source looks for it.

        https://cloudinit.readthedocs.io/en/22.4.2/topics/datasources/nocloud.html
        """
        seed = self._seed(boot.machine)
        seed.mkdir(parents=True, exist_ok=True)
        name = container_name(self.settings, boot.machine.name)
        meta = f"instance-id: {name}\nlocal-hostname: {boot.machine.name}\n"
        atomic.write_if_changed(seed / "meta-data", meta.encode())
        atomic.write_if_changed(seed / "user-data", boot.cloud_config.read_bytes())

    def _make_volume(self, machine: Machine) -> None:
        """Make the disk of a machine to be, empty: one that a removed machine left would bring its containers back.

        Before the container, since `docker run` would make it without labels.
        """
        with refusals(machine.name):
            self._remove_volume(machine)
            self.client.volumes.create(
                container_name(self.settings, machine.name), labels=labels_of(self.settings, "machine")
            )

    def _remove_volume(self, machine: Machine) -> bool:
        name = container_name(self.settings, machine.name)
        found = [volume for volume in self.client.volumes.list(filters={"name": name}) if volume.name == name]
        for volume in found:
            refuse_foreign(f"volume {name}", labels_on(volume), labels_of(self.settings, "machine"))
            volume.remove()
        return bool(found)

    def _adopt(self, machine: Machine, container: Container) -> None:
        """Let Vagrant know a container that a killed `vagrant up` made and did not get to write down.

        It is complete: one `docker run` makes it. Raises Refused for a container that is not of this cluster.
        """
        refuse_foreign(f"container {container.name}", container.labels, labels_of(self.settings, "machine"))
        if not is_own(self.settings, container.labels):
            raise Refused(f"{container.name}: a container of that name is there and isn't ours: remove or rename it")
        record = self._record(machine)
        record.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_if_changed(record, str(container.id).encode())

    def _record(self, machine: Machine) -> Path:
        """Return the file in which Vagrant keeps the id of the machine's container."""
        return self.folder / "machines" / "machines" / machine.name / "docker" / "id"

    def _wait_for_killed_run(self) -> None:
        """Wait for the `vagrant` of a run that was killed: it continues, and holds locks in its home folder."""

        def is_over() -> bool:
            return not any(map(_is_locked, (self._home / "data").glob("lock.*.lock")))

        if not wait_until(is_over, ORPHAN_DEADLINE_SECONDS):
            raise DeadlineExceeded(
                f"another vagrant has been at work on cluster {self.settings.cluster!r} for "
                f"{ORPHAN_DEADLINE_SECONDS} s: wait for it, or end it, then run the same command again"
            )

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    def _environment(self) -> dict[str, str]:
        # A home of the cluster's own: no box is shared, nothing is left in the user's ~/.vagrant.d.
        return {**super()._environment(), "VAGRANT_HOME": str(self._home)}

    def _request(self, boots: Sequence[Boot]) -> dict[str, Any]:
        if not self.image:
            raise EngineError(f"no machine image: `inv build.images --only {self.settings.local.machine_image}`")
        with refusals("engine"):
            flags = machine_flags(cgroup_version(self.client.info()))
        return {
            **super()._request(boots),
            "image": self.image,
            "create_args": flags,
            "cmd": list(INIT),
        }

    def _machine_request(self, boot: Boot) -> dict[str, Any]:
        machine = boot.machine
        return {
            **super()._machine_request(boot),
            "container": container_name(self.settings, machine.name),
            "create_args": own_flags(
                name=machine.name,
                network=network_name(self.settings),
                address=machine.address,
                volume=container_name(self.settings, machine.name),
                seed=self._seed(machine),
                labels=labels_of(self.settings, "machine"),
            ),
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
