"""`gce.balancer`: the load balancer before the routers, kept in step with the core machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.errors import DeadlineExceeded, Refused
from argosy.gce.applying import NotingReport, converge
from argosy.gce.compute.client import Compute
from argosy.gce.observing import GROUP, observe, settle
from argosy.gce.plan import balancer_plan
from argosy.gce.plan.actions import Action, Project
from argosy.gce.plan.names import in_zone, is_ours, last, shared_name
from argosy.report import Report

KINDS = ("instances", *balancer_plan.KINDS)
HEALTHY = "HEALTHY"
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Balancer:
    """`address`: what clients use; empty without a balancer. `health`: machine -> healthy, unhealthy."""

    address: str
    ports: list[int]
    health: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return {"address", "ports", "health": {"core1": "healthy"}}."""
        return {"address": self.address, "ports": self.ports, "health": self.health}


def plan(settings: Settings, *, remove: bool = False) -> list[Action]:
    """Return what `ensure` (or `remove`) would do, changing nothing."""
    with Compute.opened(settings) as compute:
        decide = balancer_plan.plan_removal if remove else balancer_plan.plan_balancer
        return decide(settings, observe(compute, settings, KINDS))


def ensure(settings: Settings, report: Report) -> Balancer:
    """Make the balancer, or bring it in step with the configuration and the core machines. Idempotent.

    Raises Refused without discovery (there would be no routers to balance over), CloudError.
    """
    if not settings.discovery.enabled:
        raise Refused("discovery.enabled is false: without routers there is nothing to balance over")
    report = NotingReport(report)
    with Compute.opened(settings) as compute:
        settle(compute, settings)
        wanted = partial(balancer_plan.plan_balancer, settings)
        project = converge(compute, settings, KINDS, wanted, report, "The balancer")
        if not report.told:
            report("balancer", "nothing to do")
        return _balancer(compute, settings, project)


def remove(settings: Settings, report: Report) -> bool:
    """Take the balancer away, whole or half-made; the machines stay. Returns whether there was anything."""
    with Compute.opened(settings) as compute:
        settle(compute, settings)
        was_there = balancer_plan.exists(settings, observe(compute, settings, balancer_plan.KINDS))
        gone = partial(balancer_plan.plan_removal, settings)
        converge(compute, settings, balancer_plan.KINDS, gone, report, "Removing the balancer")
        return was_there


def look(settings: Settings) -> Balancer:
    """Return the balancer as it is."""
    with Compute.opened(settings) as compute:
        return _balancer(compute, settings, observe(compute, settings, KINDS))


def keep_in_step(compute: Compute, settings: Settings, report: Report, leaving: Sequence[str] = ()) -> None:
    """Make the balancer's backends the core machines that there are, less those that are leaving; if there is one.

    A machine that is taken out gets no new connections; those that are open have balancer.drain_seconds.
    """
    members = partial(plan_members, settings, leaving)
    converge(compute, settings, ("instances", GROUP), members, report, "The balancer's backends")


def plan_members(settings: Settings, leaving: Sequence[str], project: Project) -> list[Action]:
    """Return what makes the backends the core machines, less those that are leaving; nothing without a balancer."""
    found = project.get(GROUP, shared_name(settings))
    ours = found is not None and is_ours(settings, found)
    return balancer_plan.plan_members(settings, project, leaving) if ours else []


def wait_until_out(settings: Settings, machine: str, deadline_seconds: float) -> bool:
    """Wait until the balancer's probes have found that a machine drains, and return whether there is a balancer.

    A machine that drains answers 503 on its health path: after balancer.unhealthy_after checks it gets no new
    connections. Raises DeadlineExceeded.
    """
    with Compute.opened(settings) as compute:
        seen = wait_until(
            lambda: health(compute, settings),
            deadline_seconds,
            done=lambda seen: seen.get(machine) != HEALTHY,
            every=POLL_SECONDS,
        )
    if seen.get(machine) == HEALTHY:
        raise DeadlineExceeded(
            f"{machine}: the balancer still finds it healthy after {deadline_seconds:g} s, so its router does not "
            "drain; see inv cluster.logs agent"
        )
    return bool(seen)


def health(compute: Compute, settings: Settings) -> dict[str, str]:
    """Return machine -> HEALTHY, UNHEALTHY, as the probes of all frontends find it; the worst counts."""
    group = f"https://www.googleapis.com/compute/v1/projects/{settings.gce.project}/"
    group += in_zone(settings, f"instanceGroups/{shared_name(settings)}")
    found: dict[str, str] = {}
    for frontend in balancer_plan.frontends(settings):
        for url, state in compute.health(shared_name(settings, frontend), group).items():
            name = last(url)
            found[name] = state if found.get(name, HEALTHY) == HEALTHY else found[name]
    return found


def _balancer(compute: Compute, settings: Settings, project: Project) -> Balancer:
    found = project.get("globalAddresses", shared_name(settings))
    seen = {name: state.lower() for name, state in sorted(health(compute, settings).items())} if found else {}
    ports = [outside for outside, _inside in balancer_plan.frontends(settings).values()]
    return Balancer(str((found or {}).get("address", "")), ports, seen)
