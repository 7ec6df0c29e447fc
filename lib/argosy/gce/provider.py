"""The provider `gce`: servers in Google Compute Engine, made and destroyed by the tasks of `gce`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from argosy.gce import record
from argosy.model import File, Machine, Unit
from argosy.paths import Names
from argosy.providers import Provider
from argosy.rendering.rendering import render
from argosy.rendering.systemd import command_line

if TYPE_CHECKING:
    from argosy.config.loading import Settings

OUT_DEADLINE_SECONDS = 120.0


class GceProvider(Provider):
    def complete(self, settings: Settings) -> Settings:
        return record.entered(settings)

    def extra_files(self, settings: Settings, _machine: Machine) -> Sequence[File]:
        """Return the program that tells the machine's ssh host keys to the API, where `gce.create` reads them."""
        return [File(_publisher(settings), render("machine/publish-host-keys.sh.j2"), 0o755)]

    def extra_units(self, settings: Settings, _machine: Machine) -> Sequence[Unit]:
        program = command_line([_publisher(settings)])
        content = render("systemd/host-keys.service.j2", system=settings.system, program=program)
        return [Unit(f"{settings.system}-host-keys.service", content, enabled=True, started=True)]

    def wait_until_out(self, settings: Settings, machine: str) -> bool:
        from argosy.gce import balancing

        return balancing.wait_until_out(settings, machine, OUT_DEADLINE_SECONDS)

    def balancer_seconds(self, settings: Settings) -> float:
        balancer = settings.gce.balancer
        checks = max(balancer.healthy_after, balancer.unhealthy_after) + 1
        return max(super().balancer_seconds(settings), checks * balancer.check_seconds)

    def reclaim(self, settings: Settings, machine: Machine) -> None:
        """Remember that the machine has left, so that `gce.destroy` takes its server."""
        record.note_leaving(settings, machine.name)


def _publisher(settings: Settings) -> str:
    return f"{Names(settings.system).programs}/publish-host-keys"
