"""What the phases of one `local.start` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from argosy.config import Settings
from argosy.console import Report
from argosy.engine_images import stored_images
from argosy.errors import EngineError
from argosy.local_names import network_name
from argosy.model import Image, Machine
from argosy.operations import registry
from argosy.operations.local.facts import HostFacts
from argosy.operations.local.record import Record
from argosy.providers.base import ABSENT, RUNNING, Provider
from argosy.providers.container import EngineFacts
from argosy.providers.vagrant import VagrantMachines
from argosy.providers.vagrant_containers import VagrantContainers
from argosy.versions import newest_of


@dataclass
class Work:
    """`settings`: complete, with the host's address and the chosen `bip`; `states`: how the machines were when the run
    began; `record`: what is remembered between runs; `newest`: the newest release, once it is in the registry;
    `releases`: what the machines run, once they were seen to be well."""

    settings: Settings
    machines: Sequence[Machine]
    client: docker.DockerClient
    facts: HostFacts
    states: Mapping[str, str]
    record: Record
    report: Report
    newest: Image | None = None
    releases: Sequence[str] = ()

    @property
    def absent(self) -> list[Machine]:
        return [machine for machine in self.machines if self.states[machine.name] == ABSENT]

    @property
    def down(self) -> list[Machine]:
        """Machines that don't run: absent ones and stopped ones."""
        return [machine for machine in self.machines if self.states[machine.name] != RUNNING]

    @property
    def uses_containers(self) -> bool:
        return self.settings.local.provider == "docker"

    @property
    def network(self) -> str:
        return network_name(self.settings)

    @property
    def newest_release(self) -> Image:
        """Return the newest release. Raises Refused when the registry has none."""
        if self.newest is None:
            self.newest = registry.current_release(self.settings)
        return self.newest

    def image(self, name: str) -> str:
        """Return the local reference, SYSTEM/NAME:VERSION, of our image's newest version. Raises EngineError."""
        newest = newest_of(stored_images(self.client, self.settings.system)).get(name)
        if newest is None:
            raise EngineError(f"image {name}: no version of it is here: `inv build.images --only {name}`")
        return f"{self.settings.system}/{name}:{newest.version}"

    def provider(self, image: str = "") -> Provider:
        """Return the provider; `image` is needed only to make machines that are containers."""
        return provider_of(self.settings, self.client, self.facts.engine, image)


def provider_of(settings: Settings, client: docker.DockerClient, facts: EngineFacts, image: str = "") -> Provider:
    if settings.local.provider == "docker":
        return VagrantContainers(settings, ssh_key(settings), client, facts, image)
    return VagrantMachines(settings, ssh_key(settings))


def ssh_key(settings: Settings) -> Path:
    """Return the private key by which the machines are reached: `ssh.key`, else the cluster's own."""
    if settings.ssh.key:
        return settings.root / Path(settings.ssh.key).expanduser()
    return settings.secrets_path / "ssh" / "id_ed25519"
