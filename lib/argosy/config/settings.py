"""What every setting is: its type, its bounds, and the default of those that stand in a list or under a name.

The defaults of the top level and its sections are in `defaults.DEFAULTS`. The sections themselves are in `sections`,
`service_settings`, `scheduled_settings` and `gce_settings`; what they are made of is in `setting_types`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Self

from pydantic import model_validator

from argosy.config.containers import ServiceSettings
from argosy.config.gce import GceSettings
from argosy.config.scheduled import ScheduledSettings, SwarmSettings
from argosy.config.scheduled_rules import check_name, check_references
from argosy.config.sections import (
    BuildSettings,
    DiscoverySettings,
    DockerSettings,
    EtcdSettings,
    HookSettings,
    ImageSettings,
    InstallSettings,
    LocalSettings,
    MachineEntry,
    MachineSettings,
    RegistryLogin,
    RegistrySettings,
    RolloutSettings,
    SecretReference,
    SshSettings,
    SshTarget,
)
from argosy.config.types import FileName, ImageName, Name, ProviderName, RegistryPlace, Section, SettingKey
from argosy.errors import ConfigError, nearest
from argosy.model import Machine
from argosy.order import start_order

RESERVED_SERVICES = ("agent", "dns", "etcd", "installer", "resolver", "router", "secrets", "swap")


class Settings(Section):
    """One cluster's settings: what `load` returns. `root` is the folder that relative paths start from.
    `registries`: logins of further registries, by HOST[:PORT][/PATH].
    `provider`: where the machines come from (argosy.providers); `providers`: by its name, what one that is not
    Argosy's own is configured by; it checks that itself.
    `templates`: the folder of the system's template resources; empty for none."""

    root: Path
    cluster: Name
    system: Name
    provider: ProviderName
    version_file: str
    state_dir: str
    secrets_dir: str
    templates: str
    ssh: SshSettings
    registry: RegistrySettings
    registries: dict[RegistryPlace, RegistryLogin]
    docker: DockerSettings
    build: BuildSettings
    machine: MachineSettings
    etcd: EtcdSettings
    install: InstallSettings
    rollout: RolloutSettings
    discovery: DiscoverySettings
    swarm: SwarmSettings
    images: dict[ImageName, ImageSettings]
    services: dict[Name, ServiceSettings]
    scheduled: dict[Name, ScheduledSettings]
    settings: dict[SettingKey, str | int | float | bool]
    secrets: dict[FileName, SecretReference]
    machines: dict[Name, MachineEntry]
    hooks: HookSettings
    local: LocalSettings
    gce: GceSettings
    providers: dict[ProviderName, dict[str, Any]]

    def find(self, path: str) -> Path:
        """Return the file or folder of the project, else the one that Argosy brings along (images, ...)."""
        own = self.root / path
        brought = Path(__file__).parents[1] / "data" / path
        return brought if brought.exists() and not own.exists() else own

    @property
    def discovered_registry(self) -> str:
        """HOST:PORT by which machines reach the registry once it is registered as a service (scheme tcp, with this
        host's name as its sni); empty without discovery."""
        discovery = self.discovery
        return f"registry.{discovery.domain}:{discovery.ports.tls}" if discovery.enabled else ""

    @property
    def state_path(self) -> Path:
        """What we remember of this cluster: machines.json, known_hosts, the cloud-config files."""
        return self.root / self.state_dir / self.cluster

    @property
    def secrets_path(self) -> Path:
        """This cluster's secrets: pki/, ssh/, registry.password, and machine/ whose files go to every machine."""
        return self.root / self.secrets_dir / self.cluster

    @property
    def files_path(self) -> PurePosixPath:
        """Where the agent keeps the files that it makes of `templates`, such as /var/lib/air/files."""
        return PurePosixPath("/var/lib") / self.system / "files"

    def ssh_of(self, machine: Machine) -> SshTarget:
        """Return how the machine is reached: as `machines` says of its name or else its address, otherwise as `ssh`."""
        by_address = (entry for entry in self.machines.values() if entry.address == machine.address)
        entry = self.machines.get(machine.name) or next(by_address, None)
        own = entry.ssh.model_dump(exclude_none=True) if entry else {}
        through = self.ssh.entry_node
        if through and "@" not in through:
            through = f"{self.ssh.user}@{through}"  # whoever the machine itself lets in
        return SshTarget.model_construct(**{**dict(self.ssh), "host": machine.address, "entry_node": through, **own})

    def check_scheduled(self, scheduled: dict[str, ScheduledSettings], where: str) -> None:
        """Refuse scheduled services that do not fit the rest of the settings. `where`: their place, for the error."""
        if scheduled and not self.swarm.enabled:
            raise ConfigError("swarm.enabled is false: nobody would place them", where)
        taken = [*self.services, *RESERVED_SERVICES]
        for name in scheduled:
            check_name(self.system, name, taken, f"{where}.{name}")
        pushed = {name: image.push for name, image in self.images.items()}
        check_references(scheduled, pushed, self.discovery.enabled, where)

    @model_validator(mode="after")
    def _references(self) -> Self:
        images = [(f"services.{name}.image", service.image) for name, service in self.services.items()]
        images += [(f"local.dependencies.{name}.image", entry.image) for name, entry in self.local.dependencies.items()]
        images += [(f"images.{name}.needs", need) for name, own in self.images.items() for need in own.needs.values()]
        for where, image in images:
            if image not in self.images:
                raise ConfigError(f"no image {image!r} under images:{nearest(image, self.images)}", where)
        for name, service in self.services.items():
            for required in service.requires:
                if required not in self.services:
                    what = f"no service {required!r}{nearest(required, self.services)}"
                    raise ConfigError(what, f"services.{name}.requires")
            if name in RESERVED_SERVICES:
                raise ConfigError(f"the unit {self.system}-{name}.service is our own", f"services.{name}")
        start_order({name: service.requires for name, service in self.services.items()})
        self.check_scheduled(self.scheduled, "scheduled")
        if self.registry.address in self.registries:
            what = "it is the cluster's own: give its login as registry.user and registry.password"
            raise ConfigError(what, f"registries.{self.registry.address}")
        seen: dict[str, str] = {}
        servers: dict[tuple[str, int], str] = {}
        for name, entry in self.machines.items():
            if entry.address in seen:
                raise ConfigError(
                    f"{entry.address} is already the address of {seen[entry.address]}",
                    f"machines.{name}.address",
                )
            seen[entry.address] = name
            server = (entry.ssh.host or entry.address, entry.ssh.port or self.ssh.port)
            if server in servers:
                raise ConfigError(
                    f"{server[0]}:{server[1]} is already the ssh server of {servers[server]}", f"machines.{name}.ssh"
                )
            servers[server] = name
        return self
