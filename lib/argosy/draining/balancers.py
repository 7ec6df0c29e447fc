"""What stands before the routers: when it sends a machine that drains nothing more."""

from __future__ import annotations

from collections.abc import Callable, Collection

from argosy.config.loading import Settings
from argosy.providers import provider_of

CHECKS_BESIDE_ETCD = 2
"""How many checks a balancer that follows etcd may need: what its last one has found holds until the next."""


def wait_until_out(
    settings: Settings,
    machine: str,
    routers: Collection[str],
    machines: Collection[str],
    pause: Callable[[float], object],
) -> None:
    """Wait until the balancer has noticed that `machine` drains. Raises DeadlineExceeded.

    `routers`: those that have applied it; one that is none of the `machines` is a balancer that follows etcd as they
    do. The provider's is asked. Of any other there is nothing to be seen from here: `pause` is called with the seconds
    that its checks take.
    """
    provider = provider_of(settings)
    if not provider.wait_until_out(settings, machine) and not _follows_etcd(routers, machines):
        pause(provider.balancer_seconds(settings))


def seconds_until_back(settings: Settings, routers: Collection[str], machines: Collection[str]) -> float:
    """Return how long the balancer may take to send to a machine again whose router says that it is in service.

    `routers`, `machines`: as for `wait_until_out`.
    """
    if not _follows_etcd(routers, machines):
        return provider_of(settings).balancer_seconds(settings)
    return CHECKS_BESIDE_ETCD * settings.discovery.check_seconds


def _follows_etcd(routers: Collection[str], machines: Collection[str]) -> bool:
    return bool(set(routers) - set(machines))
