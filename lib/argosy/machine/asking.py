"""Ask machines what they are and do: how each one is, and the facts that a verification is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from argosy.config.loading import Settings
from argosy.errors import HostUnreachable
from argosy.machine.facts import Labelled, MachineFacts, parse_facts
from argosy.machine.report import MachineAnswer, parse_report
from argosy.model import Machine
from argosy.paths import Names
from argosy.schema.declared import parse_labels
from argosy.schema.inspection import parse_container
from argosy.schema.instances import instance_id, place_of
from argosy.schema.labels import SERVICE
from argosy.ssh.host import Host, Hosts

T = TypeVar("T")

STATUS_SECONDS = 30.0
"""How long a machine may take to answer: its checks have deadlines of their own, mostly of 5 s."""
FACTS_SECONDS = 60.0
"""The same for facts: it also resolves many names."""
UNWELL = ("unhealthy", "starting")


def statuses(settings: Settings, hosts: Hosts) -> dict[str, MachineAnswer]:
    """Return what each machine of `hosts` says of itself, all asked at the same time. Nothing of it raises."""
    outcomes = hosts.each(partial(ask_status, settings), what="Status")
    return {
        name: outcome.get()
        if outcome.error is None
        else MachineAnswer(None, _reason(name, outcome.error), not isinstance(outcome.error, HostUnreachable))
        for name, outcome in outcomes.items()
    }


def ask_status(settings: Settings, host: Host) -> MachineAnswer:
    """Return what one machine says of itself. Raises HostUnreachable and its kin."""
    try:
        return MachineAnswer(_asked(settings, host, ["status", "--json"], STATUS_SECONDS, parse_report), reached=True)
    except ValueError as error:
        return MachineAnswer(reason=str(error), reached=True)


def gather(settings: Settings, hosts: Hosts, names: Sequence[str] = ()) -> list[MachineFacts]:
    """Return the facts of each machine of `hosts`, all asked at the same time, each by one command.

    `names`: host names that each resolves. Who does not answer is part of it, with the reason.
    """
    outcomes = hosts.each(partial(ask, settings, names), what="Facts")
    return [
        outcome.get() if outcome.error is None else _no_facts(hosts[name].machine, _reason(name, outcome.error))
        for name, outcome in outcomes.items()
    ]


def ask(settings: Settings, names: Sequence[str], host: Host) -> MachineFacts:
    """Return the facts of one machine. Raises HostUnreachable and its kin."""
    read = partial(parse_facts, host.machine, read=partial(_labelled, host.machine))
    try:
        return _asked(settings, host, ["facts", *names], FACTS_SECONDS, read)
    except ValueError as error:
        return _no_facts(host.machine, str(error))


def _asked(settings: Settings, host: Host, words: Sequence[str], seconds: float, read: Callable[[str], T]) -> T:
    """Return what `SYSTEM WORDS...` prints on the machine, as `read` reads it. Raises ValueError, with the reason, for
    what can't be read."""
    argv = [f"{Names(settings.system).programs}/{settings.system}", *words]
    result = host.run(argv, sudo=True, check=False, timeout_seconds=seconds)
    try:
        return read(result.stdout)
    except ValueError as error:
        reason = result.stderr.strip().rpartition("\n")[2] or str(error)
        raise ValueError(f"{argv[0]} {words[0]} ended with {result.code}: {reason}") from None


def _reason(name: str, error: Exception) -> str:
    return str(error).removeprefix(f"{name}: ")


def _no_facts(machine: Machine, reason: str) -> MachineFacts:
    return MachineFacts(machine.name, machine.address, reason=reason)


def _labelled(machine: Machine, inspected: Mapping[str, Any]) -> Labelled:
    """Return what a container declares, read as the machine's agent reads it. Raises ValueError for what is no answer
    of Docker's."""
    container = parse_container(inspected)
    instance = instance_id(machine.name, container.name)
    declaration, problems = parse_labels(container.name, container.labels)
    service = declaration.service if declaration else container.labels[SERVICE]
    unwell = f"its health check says {container.health}" if container.health in UNWELL else ""
    if declaration is None:
        return Labelled(container.name, service, instance, reason="; ".join(map(str, problems)), unwell=unwell)
    try:
        place = place_of(container, declaration, machine.address)
    except ValueError as error:
        return Labelled(container.name, service, instance, reason=str(error), unwell=unwell)
    return Labelled(container.name, service, instance, place.endpoint, unwell=unwell)
