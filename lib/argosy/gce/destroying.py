"""`gce.destroy`: servers go, core machines once they have left their cluster; data disks stay unless told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from argosy import inventory
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.gce import balancing, entry, pinning
from argosy.gce import record as gce_record
from argosy.gce.applying import converge
from argosy.gce.compute.client import Compute
from argosy.gce.listing import servers_of
from argosy.gce.membership import Membership, forget, membership_of
from argosy.gce.observing import SERVER_KINDS, observe, settle
from argosy.gce.plan.actions import Action, Project
from argosy.gce.plan.balancer_plan import is_member
from argosy.gce.plan.server_plan import plan_removal
from argosy.model import Machine, Step
from argosy.report import Report


def plan(settings: Settings, names: Sequence[str], *, with_disks: bool) -> list[Step]:
    """Return what `destroy` would do, changing nothing. Raises Refused for servers that are not ours."""
    with Compute.opened(settings) as compute:
        project = observe(compute, settings, (*SERVER_KINDS, "instanceGroups"))
    leaving, ends = _leaving(settings, names)
    steps = [action.step() for action in balancing.plan_members(settings, names, project)]
    if ends:
        steps.append(Step(settings.cluster, "the cluster ends: all of its machines go"))
    steps += [] if ends else [Step(machine.name, "leave the cluster") for machine in leaving]
    return steps + [removal.step() for removal in _removals(settings, names, project, with_disks=with_disks)]


def destroy(
    settings: Settings,
    names: Sequence[str],
    report: Report,
    *,
    with_disks: bool = False,
    left: bool = False,
    lose_volumes: bool = False,
    membership: Membership | None = None,
) -> bool:
    """Destroy the servers, whole or half-made; return whether there was anything. Idempotent.

    A machine of the cluster gets no new connections, then leaves the cluster, then goes: one after the other. When all
    of the cluster's machines are named, the cluster ends, and nobody is left to be told. `left`: machines that this
    host does not know of have left their cluster already. Raises Refused, QuorumAtRisk
    and what leaving raises, before anything is changed as far as it is known by then; CloudError, HostsFailed.
    """
    names = list(dict.fromkeys(names))
    with Compute.opened(settings) as compute:
        settle(compute, settings, names)
        project = observe(compute, settings, SERVER_KINDS)
        todo = _removals(settings, names, project, with_disks=with_disks)
        leaving, ends = _leaving(settings, names)
        if not left:
            _refuse_unknown(settings, names, project)
        member = membership or membership_of(settings, lose_volumes=lose_volumes)
        for machine in [] if ends else leaving:
            member.may_leave(settings, machine, report)
        balancing.keep_in_step(compute, settings, report, leaving=names)
        if ends:
            report(settings.cluster, "the cluster ends: all of its machines go")
        for machine in leaving:
            if not ends:
                gce_record.note_leaving(settings, machine.name)
                member.leave(settings, machine, report)
        removals = partial(_removals, settings, names, with_disks=with_disks)
        project = converge(compute, settings, SERVER_KINDS, removals, report, "Destroying servers")
    for machine in leaving:
        forget(settings, machine)
    pinning.forget(settings, names)
    entry.keep(settings, servers_of(settings, project), report)
    for action in todo:
        if not action.acts:
            report(action.server, f"kept {action.step().action.partition(' ')[2]}: --with-disks destroys it")
    return bool(leaving) or any(action.acts for action in todo)


def _removals(settings: Settings, names: Sequence[str], project: Project, *, with_disks: bool) -> list[Action]:
    return [action for name in names for action in plan_removal(settings, name, project, with_disks=with_disks)]


def _leaving(settings: Settings, names: Sequence[str]) -> tuple[list[Machine], bool]:
    """Return the machines of the cluster that go, and whether those are all."""
    known = inventory.load(settings)
    leaving = [machine for machine in known if machine.name in names]
    return leaving, bool(leaving) and len(leaving) == len(known)


def _refuse_unknown(settings: Settings, names: Sequence[str], project: Project) -> None:
    """Raise Refused for a machine of the cluster that can't leave it from here, since this host does not know it."""
    known = {machine.name for machine in inventory.load(settings)} | set(gce_record.load(settings).leaving)
    for name in names:
        instance = project.get("instances", name)
        if instance is not None and is_member(settings, instance) and name not in known:
            raise Refused(
                f"{name}: a machine of the cluster that {settings.state_path}/machines.json does not know, so it can't "
                "leave from here: destroy it where it was made, or give --left if it has left already"
            )
