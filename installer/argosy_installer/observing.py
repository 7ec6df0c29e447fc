"""What one service is doing: its unit, its container, whether the two are of this release."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.engine.api import Json
from argosy_installer import systemd
from argosy_installer.docker import Docker
from argosy_installer.release import Service

REVISION_LABEL = "argosy.revision"
VERSION_LABEL = "argosy.version"


@dataclass(frozen=True)
class Observed:
    unit: systemd.UnitState
    container: Json | None

    @property
    def running(self) -> bool:
        return bool(self.container and self.container["State"]["Running"])

    @property
    def revision(self) -> str:
        return self._label(REVISION_LABEL)

    @property
    def version(self) -> str:
        return self._label(VERSION_LABEL)

    @property
    def digest(self) -> str:
        """The digest that the container's image was named by."""
        return self.container["Config"]["Image"].rpartition("@")[2] if self.container else ""

    @property
    def since(self) -> str:
        return str(self.container["State"]["StartedAt"]) if self.container and self.running else ""

    def _label(self, name: str) -> str:
        return str(self.container["Config"]["Labels"].get(name, "")) if self.container else ""


def observe(service: Service, system: str, docker: Docker, unit: systemd.UnitState | None = None) -> Observed:
    """Return what the service is doing now. `unit`: its state, if it was just asked for."""
    return Observed(
        unit=unit or systemd.states((service.unit,))[service.unit],
        container=docker.container(f"{system}-{service.name}"),
    )
