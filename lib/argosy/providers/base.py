"""What the library asks of a provider; the class itself is `static`: machines that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.config.loading import Settings
    from argosy.model import File, Machine, Unit
    from argosy.report import Report

CHECKS = 3
"""How often a balancer that only asks for our health may have to ask before it sends nothing more, or sends again."""


class Provider:
    """A provider says only what is different where its machines come from; it keeps nothing between two calls."""

    machines_here = False
    """Whether its machines are on this host, which then uses every image itself."""

    def complete(self, settings: Settings, /) -> Settings:
        """Return the settings with what only the provider knows, such as `machines` or `ssh.entry_node`.

        Every task calls it first, so it changes nothing and asks nobody who may not answer. Idempotent.
        """
        return settings

    def extra_files(self, settings: Settings, machine: Machine, /) -> Sequence[File]:
        """Return the files that the cloud-config of `machine` holds beside ours. The same settings, the same files."""
        return ()

    def extra_units(self, settings: Settings, machine: Machine, /) -> Sequence[Unit]:
        """Return the units that the cloud-config of `machine` holds beside ours, as `extra_files` does."""
        return ()

    def wait_until_out(self, settings: Settings, machine: str, /) -> bool:
        """Wait until the provider's balancer sends nothing new to the machine of that name, which drains.

        Return False when there is none that could be asked. Raises DeadlineExceeded.
        """
        return False

    def balancer_seconds(self, settings: Settings, /) -> float:
        """Return how long a balancer that only asks for our health may take to notice that it changed.

        It asks as often as routers ask instances.
        """
        return CHECKS * settings.discovery.check_seconds if settings.discovery.enabled else 0.0

    def renew_certificates(self, settings: Settings, machines: Sequence[Machine], report: Report, /) -> None:
        """Let what the provider runs on this host beside the `machines` use the cluster's present certificates.

        A Docker engine is here. Nothing that does not run is started. Idempotent.
        """

    def reclaim(self, settings: Settings, machine: Machine, /) -> None:
        """Take back a machine that has left its cluster, just before this host forgets it.

        Idempotent: when it raises, the machine is still known here, and the same command calls it again.
        """
