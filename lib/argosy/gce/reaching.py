"""Ways to servers: straight to their external addresses, else through the entry node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused, nearest
from argosy.gce import pinning
from argosy.gce.compute.client import Compute
from argosy.gce.listing import Listed, servers_of
from argosy.gce.observing import observe
from argosy.model import Machine
from argosy.report import Report
from argosy.ssh.host import Hosts


def find(settings: Settings, names: Sequence[str], report: Report) -> list[Listed]:
    """Return our running servers of these names (all when none are given), their host keys pinned.

    Raises ConfigError for a name that there is none of, Refused for one that does not run.
    """
    with Compute.opened(settings) as compute:
        known = {server.name: server for server in servers_of(settings, observe(compute, settings, ("instances",)))}
        for name in names:
            if name not in known:
                raise ConfigError(f"no such server{nearest(name, known)}; known: {', '.join(known) or 'none'}", name)
        chosen = [known[name] for name in dict.fromkeys(names)] or [
            listed for listed in known.values() if listed.running
        ]
        for server in chosen:
            if not server.running:
                raise Refused(f"{server.name} is {server.state}: inv gce.create {server.type} {server.name} starts it")
        pinning.pin_all(compute, settings, chosen, report)
        return chosen


@contextmanager
def reached(settings: Settings, servers: Sequence[Listed]) -> Iterator[Hosts]:
    """Give the servers' hosts. All by external addresses where all have one; else all through the entry node."""
    if servers and all(server.external for server in servers):
        direct = settings.ssh.model_copy(update={"entry_node": ""})
        settings = settings.model_copy(update={"ssh": direct})
        machines = [Machine(server.name, server.external) for server in servers]
    else:
        machines = [Machine(server.name, server.address) for server in servers]
    with Hosts(settings, machines) as hosts:
        yield hosts
