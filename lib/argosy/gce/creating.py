"""`gce.create`: servers of a type, several at once, completed from wherever an earlier run has ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from argosy.config.gce import RESOURCE_PATTERN
from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.gce import balancing, delivering, entry, pinning
from argosy.gce.applying import NotingReport, converge
from argosy.gce.compute.client import Compute
from argosy.gce.listing import Listed, servers_of
from argosy.gce.membership import Membership, membership_of
from argosy.gce.observing import SERVER_KINDS, observe, settle
from argosy.gce.plan.actions import Action, Project
from argosy.gce.plan.names import address_name, disk_name
from argosy.gce.plan.server_bodies import Server
from argosy.gce.plan.server_plan import plan_address, plan_server
from argosy.gce.user_data import comparable, with_user_data
from argosy.report import Report
from argosy.secrets.syncing import Agree, refuse_taking

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
    settings: Settings,
    type_name: str,
    names: Sequence[str],
    report: Report,
    membership: Membership | None = None,
    agree: Agree = refuse_taking,
) -> list[Listed]:
    """Make the servers and return them. Idempotent; what an earlier run has begun is waited for and completed.

    `agree`: asked before secrets that servers hold are replaced.

    Raises Refused for names that others have, ConfigError, CloudError, HostsFailed naming the servers that failed (the
    others are made), DeadlineExceeded: the same command resumes.
    """
    servers = wanted(settings, type_name, names)
    report = NotingReport(report)
    with Compute.opened(settings) as compute:
        settle(compute, settings, names)
        addresses = partial(_addresses, settings, servers)
        project = converge(compute, settings, SERVER_KINDS, addresses, report, "Reserving addresses")
        complete = _complete(settings, servers, project, report, membership or membership_of(settings))
        making = partial(_servers, settings, complete)
        project = converge(compute, settings, SERVER_KINDS, making, report, "Making servers")
        balancing.keep_in_step(compute, settings, report)
        made = [
            listed for listed in servers_of(settings, project) if listed.name in {server.name for server in servers}
        ]
        pinning.pin_all(compute, settings, made, report)
        entry.keep(settings, servers_of(settings, project), report)
        delivering.deliver_all(settings, complete, made, report, agree)
        if not report.told:
            report(", ".join(names), "nothing to do")
        return made


def with_address(server: Server, project: Project) -> Server:
    found = project.get("addresses", address_name(server.name))
    return replace(server, address=str((found or {}).get("address", "")))


def _addresses(settings: Settings, servers: Sequence[Server], project: Project) -> list[Action]:
    # Refused, where a name is taken, before anything is made.
    _servers(settings, servers, project)
    return [action for server in servers for action in plan_address(settings, server, project)]


def _servers(settings: Settings, servers: Sequence[Server], project: Project) -> list[Action]:
    return [action for server in servers for action in plan_server(settings, server, project)]


def _complete(
    settings: Settings, servers: Sequence[Server], project: Project, report: Report, membership: Membership
) -> list[Server]:
    """Return the servers with their addresses and what they boot with; a machine that is there has booted."""
    known = [with_address(server, project) for server in servers]
    booting = [server for server in known if not server.type.cluster or project.get("instances", server.name) is None]
    ready = {server.name: server for server in with_user_data(settings, booting, report, membership)}
    return [ready.get(server.name, server) for server in known]
