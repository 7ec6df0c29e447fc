"""Machines through Vagrant: as containers (the default), or as VirtualBox or libvirt VMs.

Vagrant reads `vagrant/Vagrantfile`, which reads what to make from the file named by ARGOSY_VAGRANT, and keeps its own
state in STATE/vagrant, so clusters don't meet. The machines that are containers: `vagrant_containers`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from shutil import which
from typing import Any

from argosy import atomic
from argosy.config.loading import Settings
from argosy.errors import EngineError
from argosy.local.makers.base import ABSENT, RUNNING, STOPPED, VAGRANT, Boot
from argosy.local.makers.container import HOST_KEYS, parse_host_keys
from argosy.model import Machine

REQUEST = "request.json"
LOG = "vagrant.log"
_WORDS = {"running": RUNNING, "poweroff": STOPPED, "shutoff": STOPPED, "stopped": STOPPED, "not_created": ABSENT}


class VagrantMachines:
    """Virtual machines (`local.provider` virtualbox or libvirt); what `VagrantContainers` tells Vagrant builds on it.

    Every call is idempotent, and safe after a call that was killed.
    `key`: the private ssh key of the cluster, which Vagrant's own `vagrant ssh` uses too.
    """

    def __init__(self, settings: Settings, key: Path) -> None:
        self.settings = settings
        self.key = key
        self.folder = settings.state_path / VAGRANT

    def up(self, boots: Sequence[Boot], only: Sequence[Machine] = ()) -> None:
        """Make and boot the machines, in parallel where that is possible; those that run are left as they are.

        `boots`: all machines of the cluster; `only`: those that are touched, all when empty.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic.write_if_changed(self.folder / REQUEST, _document(self._request(boots)))
        names: list[str | None] = [machine.name for machine in only]
        for name in names or [None]:
            up = partial(self._vagrant.up, vm_name=name, provider=self.settings.local.provider)
            self._call("up", up)

    def states(self, machines: Sequence[Machine]) -> dict[str, str]:
        """Return name -> `running`, `stopped`, `absent`, or Vagrant's word for another state."""
        if not (self.folder / REQUEST).exists():
            return {machine.name: ABSENT for machine in machines}
        known = {status.name: status.state for status in self._call("status", self._vagrant.status)}
        return {
            machine.name: _WORDS.get(known.get(machine.name, "not_created"), known.get(machine.name, ABSENT))
            for machine in machines
        }

    def host_keys(self, machine: Machine) -> Sequence[str]:
        """Return the machine's public ssh host keys (`TYPE BASE64`), not read over the network that they secure."""
        command = " ".join(HOST_KEYS[2:])
        output = self._call("ssh", lambda: self._vagrant.ssh(vm_name=machine.name, command=command))
        return parse_host_keys(str(output))

    def destroy(self, machines: Sequence[Machine]) -> Sequence[str]:
        """Destroy the machines with their disks; return what was removed, empty when nothing was there."""
        if not (self.folder / REQUEST).exists():
            return []
        gone = [f"machine {name}" for name, state in self.states(machines).items() if state != ABSENT]
        if gone:
            self._call("destroy", self._vagrant.destroy)
        return gone

    def remove(self, machine: Machine) -> bool:
        """Destroy one machine with its disk and leave the others alone; return whether there was anything of it."""
        path = self.folder / REQUEST
        request = json.loads(path.read_bytes()) if path.exists() else {"machines": []}
        rest = [other for other in request["machines"] if other["name"] != machine.name]
        if len(rest) == len(request["machines"]):
            return False
        there = self.states([machine])[machine.name] != ABSENT
        if there:
            self._call("destroy", lambda: self._vagrant.destroy(vm_name=machine.name))
        # Vagrant knows a machine only as long as the request names it, so this comes last.
        atomic.write(path, _document(request | {"machines": rest}))
        return there

    def console(self, machine: Machine) -> str:
        """Return the last lines of the machine's own console: why it did not boot."""
        return f"see the console of {machine.name} in {self.settings.local.provider}"

    @cached_property
    def _vagrant(self) -> Any:
        # The package warns on stderr, at its import, when there is no executable; `refuse_without_vagrant` says it.
        logging.getLogger("vagrant").setLevel(logging.ERROR)
        from vagrant import Vagrant, make_file_cm

        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / LOG).unlink(missing_ok=True)
        log = make_file_cm(str(self.folder / LOG))  # type: ignore[no-untyped-call]
        return Vagrant(  # type: ignore[no-untyped-call]
            root=str(self.settings.find("vagrant")), env=self._environment(), out_cm=log, err_cm=log
        )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ARGOSY_VAGRANT": str(self.folder / REQUEST),
            "VAGRANT_DOTFILE_PATH": str(self.folder / "machines"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": self.settings.local.provider,
        }

    def _request(self, boots: Sequence[Boot]) -> dict[str, Any]:
        local = self.settings.local
        return {
            "cluster": self.settings.cluster,
            "system": self.settings.system,
            "provider": local.provider,
            "box": local.box,
            "memory_megabytes": local.memory_megabytes,
            "cpus": local.cpus,
            "subnet": local.subnet,
            "ssh": {
                "user": self.settings.ssh.user,
                "key": str(self.key),
                "known_hosts": str(self.settings.state_path / "known_hosts"),
            },
            "machines": [self._machine_request(boot) for boot in boots],
        }

    def _machine_request(self, boot: Boot) -> dict[str, Any]:
        return {
            "name": boot.machine.name,
            "address": boot.machine.address,
            "cloud_config": str(boot.cloud_config),
        }

    def _call(self, what: str, function: Any) -> Any:
        try:
            return function()
        except subprocess.CalledProcessError as error:
            log = self.folder / LOG
            raise EngineError(
                f"vagrant {what} failed ({_reason(log) or f'exit code {error.returncode}'}): see {log}, "
                f"then run the same command again, or `inv local.stop` to clear"
            ) from None


def _document(request: Mapping[str, Any]) -> bytes:
    return (json.dumps(request, indent=2) + "\n").encode()


def has_vagrant() -> bool:
    return which("vagrant") is not None


def _reason(log: Path) -> str:
    """Return the line of Vagrant's log that says most: what its provider's last command said, else the last line."""
    if not log.exists():
        return ""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = [line.removeprefix("Stderr:").strip() for line in lines if line.startswith("Stderr:")]
    return next((line for line in reversed(said or lines) if line), "")
