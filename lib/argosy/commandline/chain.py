"""Pure. A chain of tasks, `inv A B --flag`: all work on one cluster, and all do something or none does.

A flag belongs to the task that it follows. Of three that is hardly ever meant: without them, the tasks before would
really run, ask, or work on another cluster.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CLUSTER = "cluster"
SWITCHES = {"dry_run": "would really run", "yes": "would ask"}
"""What a task does without each."""


@dataclass(frozen=True, slots=True)
class Link:
    """One task of a chain. `argv`: its name and what was given to it; `flags`: what it has for CLUSTER and SWITCHES,
    the default where nothing was given; a flag that it does not take is not in it."""

    name: str
    argv: tuple[str, ...]
    flags: Mapping[str, str | bool]


def disagreement(chain: Sequence[Link], default_cluster: str) -> str:
    """Return what the tasks do not agree on, and the command that they do; empty when they agree.

    `default_cluster`: what a task works on without --cluster.
    """
    differences = [*_switches(chain), *_clusters(chain, default_cluster)]
    return f"{'; '.join(differences)}. Nothing was run; instead: {_corrected(chain)}" if differences else ""


def _switches(chain: Sequence[Link]) -> Iterator[str]:
    for switch, otherwise in SWITCHES.items():
        takers = [link for link in chain if switch in link.flags]
        without = [link.name for link in takers if not link.flags[switch]]
        if 0 < len(without) < len(takers):
            yield f"{_flag(switch)} holds only for the task that it follows: {_and(without)} {otherwise}"


def _clusters(chain: Sequence[Link], default: str) -> Iterator[str]:
    chosen = [(link.name, link.flags[CLUSTER] or default) for link in chain if CLUSTER in link.flags]
    if len({cluster for _, cluster in chosen}) > 1:
        places = [f"{name} on {cluster or 'none'}" for name, cluster in chosen]
        yield f"a chain works on one cluster, and this is {_and(places)}"


def _corrected(chain: Sequence[Link]) -> str:
    """Return the command with each flag given to all that take it. Tasks on several clusters are several commands."""
    clusters = {link.flags[CLUSTER] for link in chain if link.flags.get(CLUSTER)}
    parts = [shlex.join([*link.argv, *_missing(link, chain, clusters)]) for link in chain]
    return f"inv {' && inv '.join(parts)}" if len(clusters) > 1 else f"inv {' '.join(parts)}"


def _missing(link: Link, chain: Sequence[Link], clusters: set[str | bool]) -> Iterator[str]:
    for switch in SWITCHES:
        if link.flags.get(switch) is False and any(other.flags.get(switch) for other in chain):
            yield _flag(switch)
    if len(clusters) == 1 and link.flags.get(CLUSTER) == "":
        yield from (_flag(CLUSTER), str(*clusters))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
