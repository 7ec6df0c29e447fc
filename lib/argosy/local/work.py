"""What the phases of one `local.start` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import docker

from argosy.cloudconfig import writing
from argosy.config.loading import Settings
from argosy.engine.names import network_name
from argosy.errors import EngineError
from argosy.images.repositories import on_engine
from argosy.images.store import stored_images
from argosy.images.versions import newest_of
from argosy.local.facts import HostFacts
from argosy.local.makers.base import ABSENT, RUNNING, VAGRANT, Boot
from argosy.local.makers.engine_containers import EngineContainers
from argosy.local.makers.vagrant import VagrantMachines
from argosy.local.makers.vagrant_containers import VagrantContainers
from argosy.local.record import Record
from argosy.model import Image, Machine
from argosy.registry import access
from argosy.report import Report
from argosy.secrets.syncing import Agree, refuse_taking
from argosy.ssh.keypair import key_path

Maker = VagrantMachines | EngineContainers


@dataclass
class LocalWork:
    """`settings`: complete, with the host's address and the chosen `bip`; `states`: how the machines were when the run
    began; `record`: what is remembered between runs; `agree`: asked before secrets that machines hold are replaced;
    `newest`: the newest release, once it is in the registry; `releases`: what the machines run, once they were seen to
    be healthy."""

    settings: Settings
    machines: Sequence[Machine]
    client: docker.DockerClient
    facts: HostFacts
    states: Mapping[str, str]
    record: Record
    report: Report
    agree: Agree = refuse_taking
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
            self.newest = access.current_release(self.settings)
        return self.newest

    def image(self, name: str) -> str:
        """Return the local reference, SYSTEM/NAME:VERSION, of our image's newest version. Raises EngineError."""
        newest = newest_of(stored_images(self.client, self.settings.system)).get(name)
        if newest is None:
            raise EngineError(f"image {name}: no version of it is here: `inv build.images --only {name}`")
        return f"{on_engine(self.settings, name)}:{newest.version}"

    def up(self, machines: Sequence[Machine], only: Sequence[Machine] = ()) -> None:
        """Make or boot those of `only`, all when empty; `machines`: all that their maker has to know."""
        paths = writing.paths(self.settings, machines)
        maker = self.maker(self.image(self.settings.local.machine_image) if self.uses_containers else "")
        maker.up([Boot(machine, paths[machine.name]) for machine in machines], only)

    @property
    def by(self) -> str:
        """Return what makes the machines, in words."""
        return "through Vagrant" if self.record.maker == VAGRANT else "through the Docker engine"

    def maker(self, image: str = "") -> Maker:
        return maker_of(self.settings, self.client, self.record.maker, image)


def maker_of(settings: Settings, client: docker.DockerClient, name: str, image: str = "") -> Maker:
    """Return what looks after the machines. `name`: vagrant or engine; `image`: only to make machines of it."""
    if settings.local.provider != "docker":
        return VagrantMachines(settings, key_path(settings))
    if name == VAGRANT:
        return VagrantContainers(settings, key_path(settings), client, image)
    return EngineContainers(settings, client, image)
