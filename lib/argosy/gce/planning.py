"""`gce.plan`: what differs between the configuration and the project."""

from __future__ import annotations

from argosy.config.loading import Settings
from argosy.gce.compute.client import Compute
from argosy.gce.creating import plan_servers
from argosy.gce.observing import ALL_KINDS, observe
from argosy.gce.plan.actions import Action, Project, Verb, destroy
from argosy.gce.plan.balancer_plan import exists, plan_balancer
from argosy.gce.plan.names import is_ours, type_of
from argosy.gce.plan.server_bodies import Server
from argosy.gce.plan.server_plan import plan_removal


def plan(settings: Settings) -> list[Action]:
    """Return what gce.create, gce.destroy and gce.balancer would do so that the project is as configured.

    Servers of `gce.servers` are to be there, as their types say. Others of ours are destroyed when `gce.servers` names
    any, and are held against their types when it names none.
    """
    with Compute.opened(settings) as compute:
        return plan_project(settings, observe(compute, settings, ALL_KINDS))


def plan_project(settings: Settings, project: Project) -> list[Action]:
    """Do what `plan` does with what was observed."""
    there = {name: type_of(entry) for name, entry in project.all("instances").items() if is_ours(settings, entry)}
    named = dict(settings.gce.servers)
    actions: list[Action] = []
    for name, type_name in sorted((named or there).items()):
        actions += _server(settings, name, type_name, project)
    for name in sorted(there.keys() - named.keys() if named else ()):
        actions += plan_removal(settings, name, project, with_disks=False)
    actions += _leftovers(settings, project, {*named, *there})
    if exists(settings, project):
        found = plan_balancer(settings, project)
        actions += found or [Action(Verb.KEEP, "globalForwardingRules", f"{settings.system}-{settings.cluster}")]
    return actions


def _server(settings: Settings, name: str, type_name: str, project: Project) -> list[Action]:
    type_ = settings.gce.types.get(type_name)
    if type_ is None:
        return [Action(Verb.DIFFERS, "instances", name, f"there is no type {type_name or '(none)'}", server=name)]
    found = plan_servers(settings, [Server(name, type_name, type_)], project)
    return found or [Action(Verb.KEEP, "instances", name, type_name, server=name)]


def _leftovers(settings: Settings, project: Project, known: set[str]) -> list[Action]:
    """Return what is left of servers that are not there: addresses go, data stays."""
    found: list[Action] = []
    for kind, ending in (("addresses", "-address"), ("disks", "-data")):
        for name, entry in sorted(project.all(kind).items()):
            server = name.removesuffix(ending)
            if not is_ours(settings, entry) or not name.endswith(ending) or server in known:
                continue
            if kind == "addresses":
                found.append(destroy(kind, name, "left over: no server has it", server))
            else:
                why = f"data of a server that is gone, {entry.get('sizeGb')} GB"
                found.append(Action(Verb.KEEP, kind, name, why, server=server))
    return found
