"""How far the installs of a local cluster's machines got in an earlier run."""

from __future__ import annotations

from argosy.local.work import LocalWork
from argosy.machine import retrying
from argosy.machine.install_progress import State
from argosy.ssh.host import Hosts


def tried(work: LocalWork) -> dict[str, State]:
    """Return how far the installs got of those machines that were there when the run began and can be asked."""
    existing = [machine for machine in work.machines if machine not in work.absent]
    if not existing:
        return {}
    with Hosts(work.settings, existing) as hosts:
        outcomes = retrying.asked(hosts, work.settings)
    return {name: state for name, outcome in outcomes.items() if outcome.ok and (state := outcome.get())}
