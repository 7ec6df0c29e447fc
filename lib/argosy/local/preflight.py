"""Pure. What must hold before a local cluster is touched. The first check that fails says what to do."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused
from argosy.local.addressing import host_address
from argosy.local.makers.base import ABSENT
from argosy.local.makers.container import refuse_unfit
from argosy.machine.install_progress import State
from argosy.model import Machine

if TYPE_CHECKING:
    from argosy.local.facts import HostFacts

GIGABYTE = 1024**3
BUILD_BYTES = 2 * GIGABYTE
MACHINE_BYTES = GIGABYTE


def refuse_other_provider(settings: Settings) -> None:
    """Raise ConfigError when the cluster's machines don't come from Vagrant."""
    if settings.provider != "vagrant":
        raise ConfigError(
            f"cluster {settings.cluster!r} has provider: {settings.provider}; local tasks need provider: vagrant",
            f"clusters.{settings.cluster}.provider",
        )


def refuse_other_count(wanted: Sequence[Machine], known: Sequence[Machine], states: Mapping[str, str]) -> None:
    """Raise Refused when other machines than the wanted ones exist. Known machines that don't exist are no obstacle."""
    there = [machine for machine in known if states.get(machine.name, ABSENT) != ABSENT]
    if there and list(known) != list(wanted):
        names = ", ".join(machine.name for machine in known)
        raise Refused(
            f"the cluster has other machines ({names}): `inv local.start {len(known)}` continues with them, "
            f"`inv local.add-machine` and `inv local.remove-machine` change them, `inv local.stop` clears them"
        )


def refuse_lost_machines(absent: Sequence[Machine], tried: Mapping[str, State]) -> None:
    """Raise Refused when a machine is gone whose cluster is at work: a new one of its name is not the same member.

    Machines get their secrets only when all of them are made, so that of a half-made cluster none is installed.
    """
    if any(state.is_active for state in tried.values()):
        names = ", ".join(machine.name for machine in absent)
        raise Refused(
            f"{names}: gone, while the other machines run; the etcd member went with the disk, so it can't be made "
            f"anew as the same one: `inv local.remove-machine {absent[0].name}`, then `inv local.add-machine`"
        )


def refuse_unfit_host(settings: Settings, facts: HostFacts, absent: Sequence[Machine]) -> None:
    """Raise Refused when the host can't carry the cluster: engine, network, ports, disk, in this order."""
    if settings.local.provider == "docker":
        refuse_unfit(facts.engine)
        refuse_overlap(settings, facts)
    elif not facts.has_host_address:
        raise Refused(
            f"{host_address(settings)} is not an address of this host: set local.host_address to one that virtual "
            f"machines reach, or make the provider's network first"
        )
    if facts.taken:
        raise Refused("; ".join(facts.taken))
    refuse_full_disk(facts.engine.free_bytes, len(absent))


def refuse_overlap(settings: Settings, facts: HostFacts) -> None:
    """Raise Refused when the machines' subnet is in use, or our network is there with another one."""
    subnet = ipaddress.IPv4Network(settings.local.subnet)
    for other, whose in facts.others().items():
        if subnet.overlaps(ipaddress.IPv4Network(other)):
            raise Refused(
                f"local.subnet {subnet} overlaps {other} ({whose}): set another local.subnet, or remove that one"
            )
    own = facts.networks.get(facts.network)
    if own is not None and str(subnet) not in own:
        raise Refused(
            f"local.subnet is {subnet}, but the cluster's network was made as {', '.join(own)}: "
            f"set it back, or `inv local.stop --all` first"
        )


def refuse_full_disk(free_bytes: int | None, machines: int) -> None:
    """Raise Refused when less is free than images and machines that are not made yet need. `None`: not known."""
    needed = BUILD_BYTES + machines * MACHINE_BYTES if machines else GIGABYTE // 2
    if free_bytes is not None and free_bytes < needed:
        raise Refused(
            f"only {free_bytes / GIGABYTE:.1f} GB are free on the Docker engine's disk, {needed / GIGABYTE:.1f} GB are "
            f"needed: make room (`docker system prune`)"
        )
