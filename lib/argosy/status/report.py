"""Pure. What is known of a cluster at one moment, put together from what its machines and its etcd say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, PlainSerializer

from argosy.cluster.stored import JsonValue
from argosy.config.builtin import AGENT
from argosy.discovery.report import DiscoveryReport, Rows
from argosy.machine.report import MachineAnswer, ServiceStatus
from argosy.model import Machine, MachineState, Member
from argosy.schema import MachineRecord
from argosy.swarm.report import COLUMNS as SWARM_COLUMNS
from argosy.swarm.report import SwarmReport


@dataclass(frozen=True, slots=True)
class EtcdObserved:
    """What etcd says. `reason`: why it takes no changes, empty when it does; the rest is what is known still.
    `member_reasons`: by machine, why its member is not healthy; `discovery`: None when that is off or not known."""

    members: Sequence[Member] = ()
    records: Mapping[str, MachineRecord] = field(default_factory=dict)
    reason: str = ""
    member_reasons: Mapping[str, str] = field(default_factory=dict)
    discovery: DiscoveryReport | None = None


@dataclass(frozen=True, slots=True)
class MachineStatus(JsonValue):
    """One machine. `reason`: why its state is not active; `member`: its etcd member, None without one or if unknown;
    `member_reason`: what is wrong with that."""

    name: str
    address: str
    state: MachineState
    release: str = ""
    reason: str = ""
    missing_secrets: tuple[str, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
    member: Annotated[Member | None, PlainSerializer(lambda member: member and member_json(member))] = None
    member_reason: Annotated[str, Field(exclude=True)] = ""

    @property
    def has_agent(self) -> bool:
        """Whether its release brings the agent."""
        return any(service.name == AGENT for service in self.services)

    def problems(self) -> list[str]:
        """Return what is wrong with it, a line each."""
        lines = (
            [] if self.state is MachineState.ACTIVE else [f"{self.state}: {self.reason}" if self.reason else self.state]
        )
        if self.member_reason:
            lines.append(f"its etcd member: {self.member_reason}")
        if self.state not in (MachineState.WAITING, MachineState.INSTALLING):
            lines += [f"{service.name}: {service.problem}" for service in self.services if service.problem]
        return [f"{self.name}: {line}" for line in lines]


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster. `strays`: etcd members that belong to no known machine; `etcd_reason`: why etcd takes no changes;
    `swarm`: None when that is off or not known."""

    cluster: str
    system: str
    machines: tuple[MachineStatus, ...]
    strays: tuple[Member, ...] = ()
    etcd_reason: str = ""
    discovery: DiscoveryReport | None = None
    swarm: SwarmReport | None = None

    @property
    def healthy(self) -> bool:
        return not self.problems()

    @property
    def releases(self) -> list[str]:
        """The releases that machines run or install, each once."""
        return sorted({machine.release for machine in self.machines if machine.release}, key=version_order)

    def problems(self) -> list[str]:
        """Return what is wrong, a line each; none means that nothing is wrong."""
        lines = [line for machine in self.machines for line in machine.problems()]
        if self.etcd_reason:
            lines.append(self.etcd_reason)
        lines += [f"etcd member {stray.name or stray.id} belongs to no known machine" for stray in self.strays]
        lines += self._router_problems()
        lines += self._swarm_problems()
        return lines + self.differences()

    def differences(self) -> list[str]:
        """Return the problem that is one of the cluster alone, and of no part of it: machines on different releases."""
        several = len(self.releases) > 1
        return [f"the machines are on different releases: {', '.join(self.releases)}"] if several else []

    def _router_problems(self) -> list[str]:
        """Return what is wrong with the routers of machines that should have one. Bad data of a service is not: it
        costs nothing but that, and stands in the section `discovery`."""
        if self.discovery is None:
            return []
        states = (MachineState.ACTIVE, MachineState.DRAINING)
        up = [machine.name for machine in self.machines if machine.has_agent and machine.state in states]
        return [f"{name}: {reason}" for name in up if (reason := self.discovery.router_fault(name))]

    def _swarm_problems(self) -> list[str]:
        """Return what is wrong with the Swarm, but of machines that can't be reached, which is said already."""
        if self.swarm is None:
            return []
        lost = [machine.name for machine in self.machines if machine.state is MachineState.UNREACHABLE]
        return [line for line in self.swarm.problems() if line.partition(":")[0] not in lost]

    def to_json(self) -> dict[str, Any]:
        """Return the shape that `cluster.status --json` prints; keys are only ever added to it:

            {"cluster": "local", "system": "air", "healthy": true, "releases": ["0.1.3"], "problems": [],
             "etcd": {"healthy": true, "reason": "", "strays": [MEMBER]},
             "machines": [{"name": "air-01", "address": "10.0.0.1", "state": "active", "release": "0.1.3", "reason": "",
                           "missing_secrets": [], "services": [SERVICE], "member": MEMBER or null}],
             "discovery": {"services": 3, "instances": 9, "problems": ["..."], "routers": {"air-01": 812 or null}},
             "swarm": SWARM}

        SERVICE: {"name", "unit", "check", "reason", "version", "digest", "since"};
        MEMBER: {"id", "name", "leader", "learner", "healthy", "version"}; SWARM: as `cluster.swarm --json`. "discovery"
        and "swarm" are null when off or unknown.
        """
        return {
            "cluster": self.cluster,
            "system": self.system,
            "healthy": self.healthy,
            "releases": self.releases,
            "problems": self.problems(),
            "etcd": {
                "healthy": not self.etcd_reason,
                "reason": self.etcd_reason,
                "strays": [member_json(stray) for stray in self.strays],
            },
            "machines": [machine.to_json() for machine in self.machines],
            "discovery": self.discovery.section() if self.discovery else None,
            "swarm": self.swarm.to_json() if self.swarm else None,
        }

    def tables(self) -> list[tuple[list[str], Rows]]:
        """Return the tables that `cluster.status` prints: (columns, rows) of the machines and of their services."""
        machines: Rows = [
            [
                machine.name,
                machine.address,
                machine.state,
                machine.release,
                *_member_cells(machine.member),
                machine.reason,
            ]
            for machine in self.machines
        ]
        services: Rows = [
            [
                machine.name,
                service.name,
                service.unit,
                service.check,
                service.version,
                service.digest.removeprefix("sha256:")[:12],
                service.since[:19],
            ]
            for machine in self.machines
            for service in machine.services
        ]
        shown = [(["machine", "address", "state", "release", "member", "etcd", "healthy", "reason"], machines)]
        if services:
            shown.append((["machine", "service", "unit", "check", "version", "digest", "since"], services))
        if self.discovery:
            shown.append((["discovery", ""], self.discovery.section_rows()))
        if self.swarm:
            shown.append((["swarm", *SWARM_COLUMNS[1:]], self.swarm.rows()))
        return shown


def cluster_status(
    cluster: str,
    system: str,
    machines: Iterable[Machine],
    answers: Mapping[str, MachineAnswer],
    store: EtcdObserved,
    swarm: SwarmReport | None = None,
) -> ClusterStatus:
    """Put the status together from what each machine (`answers`, by name), etcd and Swarm said."""
    known = list(machines)
    owners = {id(member): machine.name for machine in known for member in store.members if _belongs(member, machine)}
    members = {owners[id(member)]: member for member in store.members if id(member) in owners}
    return ClusterStatus(
        cluster,
        system,
        tuple(_machine_status(machine, answers[machine.name], members.get(machine.name), store) for machine in known),
        tuple(member for member in store.members if id(member) not in owners),
        store.reason,
        store.discovery,
        swarm,
    )


def member_json(member: Member) -> dict[str, Any]:
    """Return a member as JSON."""
    return {key: getattr(member, key) for key in ("id", "name", "leader", "learner", "healthy", "version")}


def role(member: Member) -> str:
    """Return what a member is to the others, in a word."""
    return "learner" if member.learner else "leader" if member.leader else "follower"


def _machine_status(
    machine: Machine, answer: MachineAnswer, member: Member | None, store: EtcdObserved
) -> MachineStatus:
    record = store.records.get(machine.name)
    report = answer.report
    state, reason = _state(answer, record)
    return MachineStatus(
        machine.name,
        machine.address,
        state,
        release=(report.release if report else record.release if record else ""),
        reason=reason,
        missing_secrets=tuple(report.missing_secrets) if report else (),
        services=tuple(report.services) if report else (),
        member=member,
        member_reason=_member_reason(machine, state, member, record, store),
    )


def _state(answer: MachineAnswer, record: MachineRecord | None) -> tuple[MachineState, str]:
    """Return a machine's state and why it is not active."""
    if answer.report is None:
        if record and record.state == MachineState.DOWN:
            return MachineState.DOWN, answer.reason
        return (MachineState.FAILED if answer.reached else MachineState.UNREACHABLE), answer.reason
    state = MachineState(answer.report.state)
    if answer.report.missing_secrets:
        names = ", ".join(answer.report.missing_secrets)
        return state, f"lacks the secrets {names}; run inv cluster.upload-secrets"
    if state is MachineState.WAITING:
        return state, "its secrets are not complete; run inv cluster.upload-secrets"
    if state is MachineState.FAILED:
        return state, "its install failed; see inv cluster.follow-install"
    if state is MachineState.ACTIVE and record and record.state in (MachineState.DRAINING, MachineState.DOWN):
        return MachineState(record.state), "so recorded in etcd"
    return state, ""


def _member_reason(
    machine: Machine, state: MachineState, member: Member | None, record: MachineRecord | None, store: EtcdObserved
) -> str:
    """Return what is wrong with a machine's part in etcd, as far as it is not said already."""
    if store.reason and not store.members:
        return ""
    if member is not None:
        return "" if member.healthy else store.member_reasons.get(machine.name) or "does not answer"
    is_client = record is not None and record.role == "client"
    return "there is none" if state is MachineState.ACTIVE and not is_client else ""


def _belongs(member: Member, machine: Machine) -> bool:
    """Return whether the member runs (or, not started yet, will run) on the machine."""
    if member.name:
        return member.name == machine.name
    return any(urlsplit(url).hostname == machine.address for url in member.peer_urls)


def _member_cells(member: Member | None) -> list[object]:
    return [member.id, role(member), "yes" if member.healthy else "no"] if member else ["", "", ""]


def version_order(text: str) -> tuple[tuple[int, ...], str]:
    """Return what sorts versions by their numbers; words come first."""
    parts = text.split(".")
    return (tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()), text
