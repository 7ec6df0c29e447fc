"""What stands before the routers: when it sends a machine that drains nothing more."""

from __future__ import annotations

from collections.abc import Callable, Collection

from argosy.config import Settings

CHECKS = 3
"""How often a balancer that only asks for our health may have to ask before it sends nothing more, or sends again."""
CHECKS_BESIDE_ETCD = 2
"""The same of one that follows etcd, too: what its last check has found holds until the next one."""
GCE_DEADLINE_SECONDS = 120.0


def check_seconds(settings: Settings) -> float:
    """Return how long a balancer takes that asks for our health as often as routers ask instances."""
    return CHECKS * settings.discovery.check_seconds if settings.discovery.enabled else 0.0


def wait_until_out(
    settings: Settings,
    machine: str,
    routers: Collection[str],
    machines: Collection[str],
    pause: Callable[[float], object],
) -> None:
    """Wait until the balancer has noticed that `machine` drains. Raises DeadlineExceeded.

    `routers`: those that have applied it; one that is none of the `machines` is a balancer that follows etcd as they
    do. Google's is asked what its probes have found. Of any other there is nothing to be seen from here: `pause` is
    called with the seconds that its checks take.
    """
    if settings.provider == "gce":
        from argosy.operations.gce import balancing

        if balancing.wait_until_out(settings, machine, GCE_DEADLINE_SECONDS):
            return
    if not _follows_etcd(routers, machines):
        pause(check_seconds(settings))


def seconds_until_back(settings: Settings, routers: Collection[str], machines: Collection[str]) -> float:
    """Return how long the balancer may take to send to a machine again whose router says that it is in service.

    `routers`, `machines`: as for `wait_until_out`.
    """
    if not _follows_etcd(routers, machines):
        return check_seconds(settings)
    return CHECKS_BESIDE_ETCD * settings.discovery.check_seconds


def _follows_etcd(routers: Collection[str], machines: Collection[str]) -> bool:
    return bool(set(routers) - set(machines))
