"""Machines as containers with systemd, made and booted through the engine alone.

`vagrant_containers` lets Vagrant make and boot the same ones; all else is as here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

import docker
from docker.models.containers import Container

from argosy import atomic
from argosy.config.loading import Settings
from argosy.engine.connection import engine_address, one_line, refusals
from argosy.engine.containers import find_container, labels_on, remove_container
from argosy.engine.names import container_name, is_own, labels_of, network_name, refuse_foreign
from argosy.engine.ownership import remove_own
from argosy.errors import EngineError, Refused
from argosy.fanout import fan_out, joined
from argosy.local.makers.base import ABSENT, ENGINE, RUNNING, STOPPED, Boot
from argosy.local.makers.container import (
    HOST_KEYS,
    cgroup_version,
    machine_flags,
    own_flags,
    parse_host_keys,
    run_argv,
)
from argosy.model import Machine

STOP_SECONDS = 20
AT_ONCE = 5
CONSOLE_LINES = 20
_STATES = {"running": RUNNING, "exited": STOPPED, "created": STOPPED, "dead": STOPPED}


class EngineContainers:
    """Containers on the provisioning host's engine (`local.maker` engine, `local.provider` docker).

    Every call is idempotent, and safe after a call that was killed. `image`: the local reference of the machine image.
    """

    folder_name = ENGINE

    def __init__(self, settings: Settings, client: docker.DockerClient, image: str = "") -> None:
        self.settings = settings
        self.client = client
        self.image = image
        self.folder = settings.state_path / self.folder_name

    def up(self, boots: Sequence[Boot], only: Sequence[Machine] = ()) -> None:
        """Make and boot the machines, several at a time; those that run are left as they are.

        `boots`: all machines of the cluster; `only`: those that are touched, all when empty.
        """
        chosen = [boot for boot in boots if not only or boot.machine in only]
        for boot in chosen:
            container = self._container(boot.machine)
            if container is None:
                self._make_volume(boot.machine)
            else:
                self._refuse_foreign(container)
                self._adopt(boot.machine, container)
            self._write_seed(boot)
        self._boot(boots, [boot.machine for boot in chosen])

    def states(self, machines: Sequence[Machine]) -> dict[str, str]:
        """Return name -> `running`, `stopped`, `absent`, or the engine's word for another state."""
        with refusals("machines"):
            found = {machine.name: self._container(machine) for machine in machines}
        return {
            name: _STATES.get(container.status, container.status) if container else ABSENT
            for name, container in found.items()
        }

    def host_keys(self, machine: Machine) -> Sequence[str]:
        """Return the machine's public ssh host keys (`TYPE BASE64`), not read over the network that they secure."""
        container = self._container(machine)
        if container is None or container.status != "running":
            return []
        with refusals(machine.name):
            code, output = container.exec_run(list(HOST_KEYS))
        return parse_host_keys(bytes(output).decode(errors="replace")) if code == 0 else []  # type: ignore[arg-type]

    def destroy(self, machines: Sequence[Machine]) -> Sequence[str]:
        """Remove the machines with their disks; return what was removed, empty when nothing was there.

        They are stopped first, all at once, and not killed: on cgroup v1 the cgroups of a killed machine's own
        containers stay behind on the host.
        """
        gone = [f"machine {name}" for name, state in self.states(machines).items() if state != ABSENT]
        known = {f"container {container_name(self.settings, machine.name)}" for machine in machines}
        joined(fan_out({machine.name: machine for machine in machines}, self._stop, max_parallel=AT_ONCE))
        self._forget_all(machines)
        swept = remove_own(self.client, self.settings, "machine", ("container", "volume"))
        if self.folder.exists():
            rmtree(self.folder)
        return [*gone, *(name for name in swept if name.startswith("container") and name not in known)]

    def remove(self, machine: Machine) -> bool:
        """Remove one machine with its disk and leave the others alone; return whether there was anything of it."""
        container = self._container(machine)
        if container is not None:
            self._refuse_foreign(container)
            self._adopt(machine, container)
            self._stop(machine)
        self._forget(machine)
        with refusals(machine.name):
            left = self._container(machine)
            if left is not None:
                remove_container(left)
            disk = self._remove_volume(machine)
        if self._seed(machine).exists():
            rmtree(self._seed(machine))
        return container is not None or disk

    def console(self, machine: Machine) -> str:
        """Return the last lines of the machine's own console: why it did not boot."""
        container = self._container(machine)
        if container is None:
            return ""
        with refusals(machine.name):
            return container.logs(tail=CONSOLE_LINES).decode(errors="replace")

    def flags(self) -> list[str]:
        """Return the flags that all machines get on this engine."""
        if not self.image:
            raise EngineError(f"no machine image: `inv build.images --only {self.settings.local.machine_image}`")
        with refusals("engine"):
            return machine_flags(cgroup_version(self.client.info()))

    def flags_of(self, machine: Machine) -> list[str]:
        return own_flags(
            name=machine.name,
            network=network_name(self.settings),
            address=machine.address,
            volume=container_name(self.settings, machine.name),
            seed=self._seed(machine),
            labels=labels_of(self.settings, "machine"),
        )

    # What another maker does in its own way

    def _boot(self, _boots: Sequence[Boot], machines: Sequence[Machine]) -> None:
        flags = self.flags()

        def start(machine: Machine) -> None:
            container = self._container(machine) or self._create(machine, flags)
            with refusals(machine.name):
                container.start()

        joined(fan_out({machine.name: machine for machine in machines}, start, max_parallel=AT_ONCE, what="The boot"))

    def _adopt(self, machine: Machine, container: Container) -> None: ...

    def _forget(self, machine: Machine) -> None: ...

    def _forget_all(self, machines: Sequence[Machine]) -> None: ...

    # The parts of a machine

    def _create(self, machine: Machine, flags: Sequence[str]) -> Container:
        """Make the container. Where there is one in spite of a failure, a killed run's call had reached the engine
        first, or the container could not be started: trying to start it tells."""
        name = container_name(self.settings, machine.name)
        argv = run_argv(engine_address(), name, self.image, [*flags, *self.flags_of(machine)])
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        container = self._container(machine)
        if container is None:
            raise EngineError(f"{machine.name}: {one_line(done.stderr)}")
        return container

    def _refuse_foreign(self, container: Container) -> None:
        """Raise Refused for a container that is not of this cluster."""
        refuse_foreign(f"container {container.name}", container.labels, labels_of(self.settings, "machine"))
        if not is_own(self.settings, container.labels):
            raise Refused(f"{container.name}: a container of that name is there and isn't ours: remove or rename it")

    def _stop(self, machine: Machine) -> None:
        container = self._container(machine)
        if container is not None and container.status == "running":
            with refusals(machine.name):
                container.stop(timeout=STOP_SECONDS)

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

        Before the container, since the engine would make it without labels.
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
