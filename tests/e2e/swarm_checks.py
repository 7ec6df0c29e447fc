"""What the machines' Swarm is like when nothing is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab import Lab


def nodes(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return the Swarm's nodes by the machines' names."""
    return {node["machine"]: node for node in lab.json("cluster.swarm")["nodes"]}


def places(lab: Lab, service: str = "web") -> list[str]:
    """Return the machines that instances of the service run on, one for each."""
    (found,) = lab.json("service.list", service)
    return sorted(instance["machine"] for instance in found["instances"] if instance["state"] == "running")


def is_settled(lab: Lab, machines: Sequence[str]) -> None:
    """Check that all machines manage the Swarm and take instances, that two of `web` run, and that every hop agrees."""
    shown = lab.json("cluster.swarm")
    assert (shown["problems"], shown["healthy"]) == ([], True)
    assert {
        node["machine"]: (node["role"], node["availability"], node["state"]) for node in shown["nodes"]
    } == dict.fromkeys(machines, ("manager", "active", "ready"))
    assert lab.inv("cluster.swarm", "--ensure", "--dry-run").stdout == "nothing to do\n"
    assert len(places(lab)) == 2
    lab.inv("cluster.verify")
