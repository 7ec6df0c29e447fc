"""`gce.destroy`: servers go, core machines once they have left their cluster; data disks stay unless told."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import gce_record, inventory
from argosy.compute import Compute
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import Refused
from argosy.gce.actions import Action, Project
from argosy.gce.balancer_plan import is_member, plan_members
from argosy.gce.server_plan import plan_removal
from argosy.gce_record import Record
from argosy.model import Machine, Step
from argosy.operations.gce import balancing, entry, pinning
from argosy.operations.gce.applying import converge
from argosy.operations.gce.listing import servers_of
from argosy.operations.gce.membership import Membership, forget, membership_of
from argosy.operations.gce.observing import SERVER_KINDS, observe, settle


def plan(settings: Settings, names: Sequence[str], *, with_disks: bool) -> list[Step]:
    """Return what `destroy` would do, changing nothing. Raises Refused for servers that are not ours."""
    with Compute.opened(settings) as compute:
        project = observe(compute, settings, (*SERVER_KINDS, "instanceGroups"))
    leaving, ends = _leaving(settings, names)
    steps = [it.step() for it in _leave_balancer(settings, project, names)]
    if ends:
        steps.append(Step(settings.cluster, "the cluster ends: all of its machines go"))
    steps += [] if ends else [Step(machine.name, "leave the cluster") for machine in leaving]
    return steps + [it.step() for it in _removals(settings, names, project, with_disks=with_disks)]


def destroy(
    settings: Settings,
    names: Sequence[str],
    report: Report,
    *,
    with_disks: bool = False,
    left: bool = False,
    membership: Membership | None = None,
) -> bool:
    """Destroy the servers, whole or half-made; return whether there was anything. Idempotent.

    A machine of the cluster gets no new connections, then leaves the cluster, then goes: one after the other. When all
    of the cluster's machines are named, the cluster ends, and nobody is left to be told. `left`: machines that this
    host does not know of have left their cluster already. Raises Refused, QuorumAtRisk
    and what leaving raises, before the machine that can't leave is touched; CloudError, HostsFailed.
    """
    names = list(dict.fromkeys(names))
    with Compute.opened(settings) as compute:
        settle(compute, settings, names)
        project = observe(compute, settings, SERVER_KINDS)
        todo = _removals(settings, names, project, with_disks=with_disks)
        leaving, ends = _leaving(settings, names)
        if not left:
            _refuse_unknown(settings, names, project)
        balancing.keep_in_step(compute, settings, report, leaving=names)
        if ends:
            report(settings.cluster, "the cluster ends: all of its machines go")
        for machine in leaving:
            if not ends:
                _note_leaving(settings, machine.name)
                (membership or membership_of(settings)).leave(settings, machine, report)
        project = converge(
            compute,
            settings,
            SERVER_KINDS,
            lambda it: _removals(settings, names, it, with_disks=with_disks),
            report,
            "Destroying servers",
        )
    for machine in leaving:
        forget(settings, machine)
    pinning.forget(settings, names)
    entry.keep(settings, servers_of(settings, project), report)
    for action in todo:
        if not action.acts:
            report(action.server, f"kept {action.step().action.partition(' ')[2]}: --with-disks destroys it")
    return bool(leaving) or any(action.acts for action in todo)


def _removals(settings: Settings, names: Sequence[str], project: Project, *, with_disks: bool) -> list[Action]:
    return [it for name in names for it in plan_removal(settings, name, project, with_disks=with_disks)]


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


def _note_leaving(settings: Settings, name: str) -> None:
    def edit(record: Record) -> None:
        record.leaving = sorted({*record.leaving, name})

    gce_record.change(settings, edit)


def _leave_balancer(settings: Settings, project: Project, names: Sequence[str]) -> list[Action]:
    return plan_members(settings, project, leaving=names) if balancing.has_group(settings, project) else []
