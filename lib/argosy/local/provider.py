"""The provider `vagrant`: machines on this host, made and destroyed by the tasks of `local`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from argosy.providers import Provider

if TYPE_CHECKING:
    from argosy.config.loading import Settings
    from argosy.model import Machine
    from argosy.report import Report


class VagrantProvider(Provider):
    machines_here = True

    def complete(self, settings: Settings) -> Settings:
        from argosy.local.settings import localized

        return localized(settings)

    def renew_certificates(self, settings: Settings, machines: Sequence[Machine], report: Report) -> None:
        from argosy.local import balancer

        balancer.renew_certificates(settings, machines, report)
