"""Which instances Swarm stops when there shall be fewer. Pure.

Swarm chooses by itself, and tells nobody before. But it goes by rules (github.com/moby/swarmkit,
manager/orchestrator/replicated/services.go, `reconcile`): what runs is kept rather than what does not, then a lower
slot rather than a higher one; in that order each is numbered as the first, second, ... on its machine, and those with
the highest numbers go. Up to twelve instances that is exact; beyond, a sort that is not stable has the last word.
Who is wrong loses nothing but the advantage: an instance that Swarm stops unannounced is deregistered when it is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from argosy.scheduled_state import Instance

NOWHERE = 1 << 30


def victims(instances: Iterable[Instance], count: int) -> list[Instance]:
    """Return those that Swarm will stop when `count` are to be left."""
    ordered = sorted(instances, key=lambda it: (not it.task.runs, it.task.slot))
    here: Counter[str] = Counter()
    numbers = {}
    for it in ordered:
        here[it.task.node_id] += 1
        numbers[it.task.id] = here[it.task.node_id] if it.task.node_id else NOWHERE
    return sorted(ordered, key=lambda it: numbers[it.task.id])[count:]
