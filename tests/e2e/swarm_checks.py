"""What the machines' Swarm is like when nothing is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab import Lab


def nodes(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return the Swarm's nodes by the machines' names."""
    return {it["machine"]: it for it in lab.json("cluster.swarm")["nodes"]}


def places(lab: Lab, service: str = "web") -> list[str]:
    """Return the machines that instances of the service run on, one for each."""
    (found,) = lab.json("service.list", service)
    return sorted(it["machine"] for it in found["instances"] if it["state"] == "running")


def is_settled(lab: Lab, machines: Sequence[str]) -> None:
    """Check that all machines manage the Swarm and take instances, that two of `web` run, and that every hop agrees."""
    shown = lab.json("cluster.swarm")
    assert (shown["problems"], shown["healthy"]) == ([], True)
    assert {it["machine"]: (it["role"], it["availability"], it["state"]) for it in shown["nodes"]} == dict.fromkeys(
        machines, ("manager", "active", "ready")
    )
    assert lab.inv("cluster.swarm", "--ensure", "--dry-run").stdout == "nothing to do\n"
    assert len(places(lab)) == 2
    lab.inv("cluster.verify")
