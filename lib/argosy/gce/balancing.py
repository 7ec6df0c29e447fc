"""`gce.balancer`: the load balancer before the routers, kept in step with the core machines."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from argosy.compute import Compute
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import DeadlineExceeded, Refused
from argosy.gce import balancer_plan
from argosy.gce.actions import Action, Project
from argosy.gce.names import in_zone, is_ours, last, shared_name
from argosy.operations.gce.applying import Told, converge
from argosy.operations.gce.observing import GROUP, observe, settle

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
        return _plan(settings, observe(compute, settings, KINDS), remove)


def ensure(settings: Settings, report: Report) -> Balancer:
    """Make the balancer, or bring it in step with the configuration and the core machines. Idempotent.

    Raises Refused without discovery (there would be no routers to balance over), CloudError.
    """
    if not settings.discovery.enabled:
        raise Refused("discovery.enabled is false: without routers there is nothing to balance over")
    report = Told(report)
    with Compute.opened(settings) as compute:
        settle(compute, settings)
        project = converge(compute, settings, KINDS, lambda it: _plan(settings, it, False), report, "The balancer")
        if not report.told:
            report("balancer", "nothing to do")
        return _balancer(compute, settings, project)


def remove(settings: Settings, report: Report) -> bool:
    """Take the balancer away, whole or half-made; the machines stay. Returns whether there was anything."""
    with Compute.opened(settings) as compute:
        settle(compute, settings)
        was_there = balancer_plan.exists(settings, observe(compute, settings, balancer_plan.KINDS))
        kinds = balancer_plan.KINDS
        converge(compute, settings, kinds, lambda it: _plan(settings, it, True), report, "Removing the balancer")
        return was_there


def look(settings: Settings) -> Balancer:
    """Return the balancer as it is."""
    with Compute.opened(settings) as compute:
        return _balancer(compute, settings, observe(compute, settings, KINDS))


def keep_in_step(compute: Compute, settings: Settings, report: Report, leaving: Sequence[str] = ()) -> None:
    """Make the balancer's backends the core machines that there are, less those that are leaving; if there is one.

    A machine that is taken out gets no new connections; those that are open have balancer.drain_seconds.
    """
    kinds = ("instances", GROUP)

    def members(project: Project) -> list[Action]:
        ours = has_group(settings, project)
        return balancer_plan.plan_members(settings, project, leaving) if ours else []

    converge(compute, settings, kinds, members, report, "The balancer's backends")


def has_group(settings: Settings, project: Project) -> bool:
    found = project.get(GROUP, shared_name(settings))
    return found is not None and is_ours(settings, found)


def wait_until_out(settings: Settings, machine: str, deadline_seconds: float) -> bool:
    """Wait until the balancer's probes have found that a machine drains, and return whether there is a balancer.

    A machine that drains answers 503 on its health path: after balancer.unhealthy_after checks it gets no new
    connections. Raises DeadlineExceeded.
    """
    with Compute.opened(settings) as compute:
        deadline, pause = time.monotonic() + deadline_seconds, threading.Event()
        while True:
            seen = health(compute, settings)
            if seen.get(machine, "") != HEALTHY:
                return bool(seen)
            if time.monotonic() > deadline:
                raise DeadlineExceeded(
                    f"{machine}: the balancer still finds it healthy after {deadline_seconds:g} s, so its router does "
                    "not drain; see inv cluster.logs agent"
                )
            pause.wait(POLL_SECONDS)


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


def _plan(settings: Settings, project: Project, remove: bool) -> list[Action]:
    return (balancer_plan.plan_removal if remove else balancer_plan.plan_balancer)(settings, project)


def _balancer(compute: Compute, settings: Settings, project: Project) -> Balancer:
    found = project.get("globalAddresses", shared_name(settings))
    seen = {name: state.lower() for name, state in sorted(health(compute, settings).items())} if found else {}
    ports = [outside for outside, _inside in balancer_plan.frontends(settings).values()]
    return Balancer(str((found or {}).get("address", "")), ports, seen)
