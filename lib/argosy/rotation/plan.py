"""Pure. How changed secrets, renewed certificates and another CA come to the machines of a running cluster.

A rotation goes machine by machine, and nothing of it is remembered of a machine: what is left to do there is seen on
it (`ObservedMachine`). So the same command resumes after any end. A CA is changed in phases, each of them done
everywhere before the next one begins:

    trust     the new CA is made; all trust both, the old one signs
    issue     the new one signs: new certificates everywhere, which everybody trusts already
    retire    all trust the new one alone

Who reads what: etcd reads its certificates for each new connection but its CA once, so it is restarted for another CA;
agents start anew by themselves; Docker reads its trust in the registry at each pull.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from argosy.cluster.change import Finish
from argosy.cluster.stored import StoredRecord
from argosy.secrets.names import OWN_SECRETS


class Phase(StrEnum):
    """`ROLL`: the one phase of a rotation that keeps the CA."""

    ROLL = "roll"
    TRUST = "trust"
    ISSUE = "issue"
    RETIRE = "retire"


NEXT = {Phase.TRUST: Phase.ISSUE, Phase.ISSUE: Phase.RETIRE}
MEANING = {
    Phase.ROLL: "bring what is changed",
    Phase.TRUST: "trust the new CA beside the old one",
    Phase.ISSUE: "use certificates of the new CA",
    Phase.RETIRE: "trust the new CA alone",
}
AUTHORITY_FILE = "ca.crt"


@dataclass(frozen=True, slots=True)
class Record(StoredRecord):
    """A rotation that has begun and not ended. `started`: as 2026-01-31T12:00:00Z; `only`: the secrets to make anew,
    of which `made` are; `certificates`: all of them are renewed."""

    WHAT: ClassVar[str] = "a rotation"

    id: str
    phase: Phase
    started: str
    only: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    certificates: bool = False

    @property
    def changes_authority(self) -> bool:
        return self.phase is not Phase.ROLL

    @property
    def to_make(self) -> tuple[str, ...]:
        return tuple(name for name in self.only if name not in self.made)


@dataclass(frozen=True, slots=True)
class RotationRequest:
    """What is asked for. Without any of it: bring to the machines what they have not."""

    only: tuple[str, ...] = ()
    certificates: bool = False
    authority: bool = False


def readers(uses: Mapping[str, Collection[str]], request: RotationRequest) -> list[str]:
    """Return whose running instances have old secrets after a rotation. `uses`: each scheduled service's secrets.

    An instance has the files that lay there when it began, and nobody but an update may end it.
    """
    if request.only:
        return [name for name, secrets in uses.items() if set(secrets) & set(request.only)]
    return [] if request.certificates or request.authority else [name for name, secrets in uses.items() if secrets]


def renewed_files(record: Record) -> tuple[str, ...]:
    """Return the files of a machine that the rotation makes anew on purpose."""
    if record.changes_authority:
        return (AUTHORITY_FILE, *OWN_SECRETS)
    return (*record.only, *(OWN_SECRETS if record.certificates else ()))


def begin(request: RotationRequest, present: Record | None, id: str, started: str) -> Record:
    """Return the record to continue: that of the present rotation, or a new one.

    Raises ValueError, with the reason, when the present one has to end first.
    """
    if present is None:
        phase = Phase.TRUST if request.authority else Phase.ROLL
        return Record(id, phase, started, request.only, (), request.certificates)
    if present.changes_authority != request.authority:
        command = "inv secrets.rotate" + (" --ca" if present.changes_authority else "")
        raise ValueError(
            f"rotation {present.id}, begun at {present.started}, has not ended (it is to "
            f"{MEANING[present.phase]}): {command} resumes it"
        )
    only = tuple(dict.fromkeys((*present.only, *request.only)))
    return replace(present, only=only, certificates=present.certificates or request.certificates)


@dataclass(frozen=True, slots=True)
class ObservedMachine:
    """A machine as it is. `changes`: names of the files that differ; `stale`: services that run with an older file of
    a secret; `trusts`: the SHA-256 of the CA file that etcd was restarted for, empty when it never was since the boot;
    `member`: it runs etcd; `distrusts`: Docker's CA for the registry differs; `trouble`: why it is not well."""

    name: str
    changes: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    trusts: str = ""
    member: bool = False
    distrusts: bool = False
    trouble: str = ""


class Act(StrEnum):
    UPLOAD = "upload {what}"
    TRUST_REGISTRY = "let Docker trust the registry by the new ca.crt"
    RESTART_ETCD = "restart etcd, which reads its CA only at its start"
    RESTART = "restart {what}"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do on a machine. `what`: the files to upload, or the service to restart."""

    act: Act
    what: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.act.format(what=", ".join(self.what) or "the marker")


def work(
    phase: Phase, seen: ObservedMachine, authority: str, uses: Mapping[str, Collection[str]]
) -> tuple[Action, ...]:
    """Return what is to be done on a machine in `phase`, in order; nothing when it is done there.

    `authority`: the SHA-256 of the CA file that it must have; `uses`: each service's secrets, services in the order
    of their starts.
    """
    actions = []
    if seen.changes:
        actions.append(Action(Act.UPLOAD, seen.changes))
    if seen.distrusts:
        actions.append(Action(Act.TRUST_REGISTRY))
    if seen.member and _has_old_authority(phase, seen, authority):
        actions.append(Action(Act.RESTART_ETCD))
    # One whose file lacks can't run; systemd starts it again and again, so it needs no restart for a new file.
    outdated = [name for name, secrets in uses.items() if name in seen.stale or set(secrets) & set(seen.changes)]
    return (*actions, *(Action(Act.RESTART, (name,)) for name in outdated))


def _has_old_authority(phase: Phase, seen: ObservedMachine, authority: str) -> bool:
    """Return whether etcd may have read another CA file. Where all depends on it, not knowing is not enough."""
    if seen.trusts:
        return seen.trusts != authority
    return phase in (Phase.TRUST, Phase.RETIRE) or AUTHORITY_FILE in seen.changes


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until these machines are well, before anything else is touched."""

    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MachineWork:
    """Do these on one machine, then look at it again."""

    machine: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Enter:
    """The phase is over: record the next one, then begin it."""

    phase: Phase


Decision = Gate | MachineWork | Enter | Finish


def next_action(
    phase: Phase,
    seen: Iterable[ObservedMachine],
    gated: Collection[str],
    authority: str,
    uses: Mapping[str, Collection[str]],
) -> Decision:
    """Return what to do next. `gated`: machines that were found well since something was last done on them.

    A machine on which nothing is left to do is waited for first: its last restart may be that of somebody who was
    killed. One that is not well goes first, since the change may be what it needs; others wait for it.
    """
    left = {
        observed_machine.name: (observed_machine, work(phase, observed_machine, authority, uses))
        for observed_machine in seen
    }
    done = tuple(name for name, (_, actions) in left.items() if not actions and name not in gated)
    if done:
        return Gate(done)
    waiting = [(observed_machine, actions) for observed_machine, actions in left.values() if actions]
    if waiting:
        first, actions = min(waiting, key=lambda pair: (not pair[0].trouble, pair[0].name))
        return MachineWork(first.name, actions)
    return Enter(NEXT[phase]) if phase in NEXT else Finish()
