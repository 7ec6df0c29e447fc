"""`gce.create`: servers of a type, several at once, completed from wherever an earlier run has ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from argosy.compute import Compute
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import ConfigError
from argosy.gce.actions import Action, Project
from argosy.gce.names import address_name, disk_name
from argosy.gce.server_bodies import Server
from argosy.gce.server_plan import plan_address, plan_server
from argosy.gce_settings import RESOURCE_PATTERN
from argosy.operations.gce import balancing, delivering, entry, pinning
from argosy.operations.gce.applying import Told, converge
from argosy.operations.gce.listing import Listed, servers_of
from argosy.operations.gce.membership import Membership, membership_of
from argosy.operations.gce.observing import SERVER_KINDS, observe, settle
from argosy.operations.gce.user_data import comparable, with_user_data

DISK_ENDING = disk_name("")
LONGEST_NAME = 63 - len("-address")


def wanted(settings: Settings, type_name: str, names: Sequence[str]) -> list[Server]:
    """Return the servers that are meant. Raises ConfigError for an unknown type or a name that Google would refuse."""
    if not names:
        raise ConfigError("give the name of each server", "names")
    for name in names:
        if not re.fullmatch(RESOURCE_PATTERN, name) or len(name) > LONGEST_NAME:
            raise ConfigError(
                f"a server's name is of lower-case letters, digits and dashes, at most {LONGEST_NAME}, a letter first",
                name,
            )
        if name.endswith(DISK_ENDING):
            raise ConfigError(f"names that end with {DISK_ENDING} are those of data disks", name)
    type_ = settings.gce.type_named(type_name)
    return [Server(name, type_name, type_) for name in dict.fromkeys(names)]


def plan(settings: Settings, type_name: str, names: Sequence[str]) -> list[Action]:
    """Return what `create` would do, changing nothing."""
    servers = wanted(settings, type_name, names)
    with Compute.opened(settings) as compute:
        project = observe(compute, settings, (*SERVER_KINDS, "instanceGroups"))
        return plan_servers(settings, servers, project)


def plan_servers(settings: Settings, servers: Sequence[Server], project: Project) -> list[Action]:
    """Return everything that is to be done for these servers, as far as it can be told before their addresses are."""
    actions: list[Action] = []
    for server in servers:
        known = comparable(settings, with_address(server, project))
        actions += [*plan_address(settings, known, project), *plan_server(settings, known, project)]
    return actions


def create(
    settings: Settings, type_name: str, names: Sequence[str], report: Report, membership: Membership | None = None
) -> list[Listed]:
    """Make the servers and return them. Idempotent; what an earlier run has begun is waited for and completed.

    Raises Refused for names that others have, ConfigError, CloudError, HostsFailed naming the servers that failed (the
    others are made), DeadlineExceeded: the same command again goes on.
    """
    servers = wanted(settings, type_name, names)
    report = Told(report)
    with Compute.opened(settings) as compute:
        settle(compute, settings, names)
        project = converge(
            compute, settings, SERVER_KINDS, lambda it: _addresses(settings, servers, it), report, "Reserving addresses"
        )
        complete = _complete(settings, servers, project, report, membership or membership_of(settings))
        project = converge(
            compute,
            settings,
            SERVER_KINDS,
            lambda it: [action for server in complete for action in plan_server(settings, server, it)],
            report,
            "Making servers",
        )
        balancing.keep_in_step(compute, settings, report)
        made = [it for it in servers_of(settings, project) if it.name in {server.name for server in servers}]
        pinning.pin_all(compute, settings, made, report)
        entry.keep(settings, servers_of(settings, project), report)
        delivering.deliver_all(settings, complete, made, report)
        if not report.told:
            report(", ".join(names), "nothing to do")
        return made


def with_address(server: Server, project: Project) -> Server:
    found = project.get("addresses", address_name(server.name))
    return replace(server, address=str((found or {}).get("address", "")))


def _addresses(settings: Settings, servers: Sequence[Server], project: Project) -> list[Action]:
    for server in servers:
        # Refused, where a name is taken, before anything is made.
        plan_server(settings, server, project)
    return [action for server in servers for action in plan_address(settings, server, project)]


def _complete(
    settings: Settings, servers: Sequence[Server], project: Project, report: Report, membership: Membership
) -> list[Server]:
    """Return the servers with their addresses and what they boot with; a machine that is there has booted."""
    known = [with_address(server, project) for server in servers]
    booting = [it for it in known if not it.type.cluster or project.get("instances", it.name) is None]
    ready = {it.name: it for it in with_user_data(settings, booting, report, membership)}
    return [ready.get(server.name, server) for server in known]
