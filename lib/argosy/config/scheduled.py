"""A scheduled service as it is defined: N instances that Docker Swarm places. And the settings of Swarm itself."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from argosy.config.containers import CheckSettings, EndpointSettings, StopSettings, VolumeSettings, kept_volumes
from argosy.config.types import (
    IMAGE_PATTERN,
    Contradiction,
    EnvName,
    FileName,
    Line,
    Name,
    Port,
    PositiveSeconds,
    Section,
)

CONSTRAINT = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)(!?=)([A-Za-z0-9_][A-Za-z0-9_.:/-]*)")
METADATA_KEY = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
MACHINE = "machine"
"""As the key of a constraint or a spread: the machine's name."""


class SwarmSettings(Section):
    """Docker Swarm on the machines. `port`: where its managers listen. `heartbeat_seconds`: how often a machine tells
    them that it lives; one that misses three is down, and what ran there is placed anew."""

    enabled: bool
    port: Port
    heartbeat_seconds: Annotated[float, Field(ge=1, le=60)]


class Constraint(Section):
    """`key`: of the machines' metadata, or `machine`. `equal`: the value has to be that one, else any other."""

    key: str
    equal: bool
    value: str

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.equal else '!='}{self.value}"


def parse_constraint(text: str) -> Constraint:
    """Return the constraint of `tier=green`, `tier!=green` or `machine=air-01`. Raises ValueError."""
    found = CONSTRAINT.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not KEY=VALUE or KEY!=VALUE, such as tier=green or machine!=air-01")
    return Constraint(key=found[1], equal=found[2] == "=", value=found[3])


class ReserveSettings(Section):
    """What has to be free of a machine for each instance that is placed there."""

    memory_megabytes: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[float, Field(ge=0, le=1024)] = 0


class RestartSettings(Section):
    """`condition`: start an instance anew when it has ended, whatever with, or only when it failed. `attempts`: within
    `window_seconds`, or ever when that is 0; 0 means no bound."""

    condition: Literal["any", "on-failure", "none"] = "any"
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 2
    attempts: Annotated[int, Field(ge=0)] = 0
    window_seconds: Annotated[float, Field(ge=0)] = 0


class UpdateSettings(Section):
    """How `service.update` goes about it. `order`: the new instances beside the old, or in their place. `canary`: the
    share of requests that the new ones get at first, such as 10%; none when empty. `soak_seconds`: how long they get no
    more than that. `deadline_seconds`: for the new instances to be healthy and registered."""

    order: Literal["start-first", "stop-first"] = "start-first"
    canary: Annotated[str, Field(pattern=r"^([1-9]\d?%)?$")] = ""
    soak_seconds: Annotated[float, Field(ge=0)] = 0
    deadline_seconds: PositiveSeconds = 300


class ScheduledSettings(Section):
    """A scheduled service.

    `image`: one of `images:`, or a reference with a registry, a tag or a digest, which `check_references` looks at (one
    that was stored before it did is still read). `replicas`: 1 when left out;
    `global`: one on every machine that fits. `constraints`, `spread`: over the machines' metadata. `max_per_machine`: 0
    for no bound. `conflicts`: scheduled services that never run on the same machine. `env`: literal values.
    `secrets`: names of files of the secrets folder, mounted read-only at /run/secrets/NAME. `ports`: fixed ones of the
    machine, `8081:81`; the port of `discovery` needs none. `check`: ports are the container's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    image: Line
    replicas: Annotated[int, Field(ge=0, le=10000)] | None = None
    everywhere: Annotated[bool, Field(alias="global")] = False
    constraints: list[Annotated[str, AfterValidator(lambda text: str(parse_constraint(text)))]] = []
    max_per_machine: Annotated[int, Field(ge=0)] = 0
    conflicts: list[Name] = []
    spread: list[Annotated[str, Field(pattern=METADATA_KEY)]] = []
    memory_megabytes: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[float, Field(ge=0, le=1024)] = 0
    reserve: ReserveSettings = ReserveSettings()
    env: dict[EnvName, Line] = {}
    secrets: list[FileName] = []
    entrypoint: list[Line] = []
    command: list[Line] = []
    volumes: list[VolumeSettings] = []
    ports: list[Annotated[str, Field(pattern=r"^\d{1,5}:\d{1,5}(/(tcp|udp))?$")]] = []
    discovery: EndpointSettings | None = None
    check: CheckSettings | None = None
    stop: StopSettings = StopSettings()
    restart: RestartSettings = RestartSettings()
    update: UpdateSettings = UpdateSettings()
    console: list[Line] = []
    shell: list[Line] = ["/bin/sh"]

    @property
    def count(self) -> int | None:
        """How many instances are wanted; None means one on every machine."""
        return None if self.everywhere else 1 if self.replicas is None else self.replicas

    @property
    def own_image(self) -> bool:
        """Whether `image` is a name under `images:`."""
        return bool(re.fullmatch(IMAGE_PATTERN, self.image))

    @property
    def kept_volumes(self) -> list[str]:
        return kept_volumes(self.volumes)

    @property
    def keeps_home(self) -> bool:
        """Whether its instances stay on the machines that have their volumes. A global service has its own on each."""
        return bool(self.kept_volumes) and not self.everywhere

    @property
    def placed_by(self) -> list[Constraint]:
        return [parse_constraint(text) for text in self.constraints]

    @property
    def fixed_ports(self) -> list[tuple[int, int, str]]:
        """The machine's port, the container's, and the protocol of each of `ports`."""
        found = []
        for text in self.ports:
            both, _, protocol = text.partition("/")
            outside, _, inside = both.partition(":")
            found.append((int(outside), int(inside), protocol or "tcp"))
        return found

    @model_validator(mode="after")
    def _how_many(self) -> Self:
        if self.everywhere and self.replicas is not None:
            raise Contradiction("a global service has one instance on every machine: leave replicas out", "replicas")
        if self.everywhere and self.max_per_machine:
            raise Contradiction("a global service has one instance on every machine: leave it out", "max_per_machine")
        if self.everywhere and self.spread:
            raise Contradiction("a global service is on every machine anyway: leave it out", "spread")
        if len(set(self.spread)) != len(self.spread):
            raise Contradiction("it names the same key twice", "spread")
        return self

    @model_validator(mode="after")
    def _constraints_agree(self) -> Self:
        wanted: dict[str, Constraint] = {}
        for constraint in self.placed_by:
            other = wanted.setdefault(constraint.key, constraint) if constraint.equal else wanted.get(constraint.key)
            if other and constraint.equal and other.value != constraint.value:
                raise Contradiction(f"no machine has both {other} and {constraint}", "constraints")
        for constraint in self.placed_by:
            if not constraint.equal and constraint.key in wanted and wanted[constraint.key].value == constraint.value:
                raise Contradiction(f"no machine has both {wanted[constraint.key]} and {constraint}", "constraints")
        return self

    @model_validator(mode="after")
    def _ports_fit(self) -> Self:
        seen: set[tuple[int, str]] = set()
        for outside, inside, protocol in self.fixed_ports:
            if not (0 < outside < 65536 and 0 < inside < 65536):
                raise Contradiction(f"{outside}:{inside}: ports are 1 to 65535", "ports")
            if (outside, protocol) in seen:
                raise Contradiction(f"port {outside}/{protocol} of the machine stands there twice", "ports")
            seen.add((outside, protocol))
        if self.ports and self.max_per_machine > 1:
            raise Contradiction("a fixed port keeps it to one instance on each machine", "max_per_machine")
        if self.ports and self.update.order == "start-first":
            raise Contradiction(
                "a fixed port keeps the new instances from starting beside the old: say stop-first, and that an update "
                "is a short outage, or leave ports out (Docker chooses one, and discovery finds it)",
                "update.order",
            )
        return self

    @model_validator(mode="after")
    def _updates_fit(self) -> Self:
        if self.update.order == "stop-first" and self.update.canary:
            raise Contradiction("with stop-first no old instance is left that could take the rest", "update.canary")
        if self.update.canary and not self.discovery:
            raise Contradiction("what is not found by discovery has no share of requests", "update.canary")
        if self.update.soak_seconds and not self.update.canary:
            raise Contradiction(
                "it is for how long a canary gets its share: give update.canary too", "update.soak_seconds"
            )
        return self

    @model_validator(mode="after")
    def _check_is_asked(self) -> Self:
        asked = self.check and (self.check.http or self.check.tcp)
        if not asked:
            return self
        kind = "http" if self.check and self.check.http else "tcp"
        if self.discovery is None:
            raise Contradiction(
                "only what discovery finds is asked over the network: give discovery, or a command", f"check.{kind}"
            )
        if asked.port != self.discovery.port:
            raise Contradiction(
                f"only the port of discovery, {self.discovery.port}, is asked (as a port of the container)",
                f"check.{kind}.port",
            )
        return self

    @model_validator(mode="after")
    def _resources_fit(self) -> Self:
        for name in ("memory_megabytes", "cpus"):
            limit, reserved = getattr(self, name), getattr(self.reserve, name)
            if limit and reserved > limit:
                raise Contradiction(f"{reserved:g} is more than the instance may use, {limit:g}", f"reserve.{name}")
        return self

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if len(set(self.conflicts)) != len(self.conflicts):
            raise Contradiction("it names the same service twice", "conflicts")
        return self

    @model_validator(mode="after")
    def _targets_differ(self) -> Self:
        seen = {f"/run/secrets/{name}" for name in self.secrets}
        if len(seen) != len(self.secrets):
            raise Contradiction("it names the same file twice", "secrets")
        for volume in self.volumes:
            if volume.target in seen:
                raise Contradiction(f"{volume.target} is mounted twice", "volumes")
            seen.add(volume.target)
        return self
