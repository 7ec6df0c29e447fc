"""How changed secrets, renewed certificates and another CA come to the machines of a running cluster. Pure: decisions.

A rotation goes machine by machine, and nothing of it is remembered of a machine: what is left to do there is seen on
it (`Seen`). So whoever is killed at any moment, the same again goes on. A CA is changed in phases, each of them done
everywhere before the next one begins:

    trust     the new CA is made; all trust both, the old one signs
    issue     the new one signs: new certificates everywhere, which everybody trusts already
    retire    all trust the new one alone

Who reads what: etcd reads its certificates for each new connection but its CA once, so it is restarted for another CA;
agents start anew by themselves; Docker reads its trust in the registry at each pull.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


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
class Record:
    """A rotation that has begun and not ended. `started`: as 2026-01-31T12:00:00Z; `only`: the secrets to make anew,
    of which `made` are; `certificates`: all of them are renewed."""

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

    def text(self) -> str:
        values = {"id": self.id, "phase": self.phase, "started": self.started, "certificates": self.certificates}
        return json.dumps({**values, "only": list(self.only), "made": list(self.made)}, indent=2) + "\n"


def parse_record(text: str) -> Record:
    """Return what `Record.text` wrote. Raises ValueError."""
    found = json.loads(text)
    if not isinstance(found, dict) or not {"id", "phase", "started"} <= found.keys():
        raise ValueError("not the record of a rotation")
    only, made = (tuple(str(it) for it in found.get(key) or ()) for key in ("only", "made"))
    return Record(
        str(found["id"]), Phase(found["phase"]), str(found["started"]), only, made, bool(found.get("certificates"))
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. Without any of it: bring to the machines what they have not."""

    only: tuple[str, ...] = ()
    certificates: bool = False
    authority: bool = False


def readers(uses: Mapping[str, Collection[str]], wish: Wish) -> list[str]:
    """Return whose running instances have old secrets after a rotation. `uses`: each scheduled service's secrets.

    An instance has the files that lay there when it began, and nobody but an update may end it.
    """
    if wish.only:
        return [name for name, secrets in uses.items() if set(secrets) & set(wish.only)]
    return [] if wish.certificates or wish.authority else [name for name, secrets in uses.items() if secrets]


def begin(wish: Wish, present: Record | None, id: str, started: str) -> Record:
    """Return the record to go on with: that of the present rotation, or a new one.

    Raises ValueError, with the reason, when the present one has to end first.
    """
    if present is None:
        phase = Phase.TRUST if wish.authority else Phase.ROLL
        return Record(id, phase, started, wish.only, (), wish.certificates)
    if present.changes_authority != wish.authority:
        command = "inv secrets.rotate" + (" --ca" if present.changes_authority else "")
        raise ValueError(
            f"rotation {present.id}, begun at {present.started}, has not ended (it shall "
            f"{MEANING[present.phase]}): {command} goes on with it"
        )
    only = tuple(dict.fromkeys((*present.only, *wish.only)))
    return replace(present, only=only, certificates=present.certificates or wish.certificates)


@dataclass(frozen=True, slots=True)
class Seen:
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
    UPLOAD = "upload"
    TRUST_REGISTRY = "trust-registry"
    RESTART_ETCD = "restart-etcd"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing to do on a machine. `what`: the files to upload, or the service to restart."""

    act: Act
    what: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = {
            Act.UPLOAD: f"upload {', '.join(self.what) or 'the marker'}",
            Act.TRUST_REGISTRY: "let Docker trust the registry by the new ca.crt",
            Act.RESTART_ETCD: "restart etcd, which reads its CA only at its start",
            Act.RESTART: f"restart {', '.join(self.what)}",
        }
        return words[self.act]


def work(phase: Phase, seen: Seen, authority: str, uses: Mapping[str, Collection[str]]) -> tuple[Deed, ...]:
    """Return what is to be done on a machine in `phase`, in order; nothing when it is done there.

    `authority`: the SHA-256 of the CA file that it shall have; `uses`: each service's secrets, services in the order
    of their starts.
    """
    deeds = []
    if seen.changes:
        deeds.append(Deed(Act.UPLOAD, seen.changes))
    if seen.distrusts:
        deeds.append(Deed(Act.TRUST_REGISTRY))
    if seen.member and _has_old_authority(phase, seen, authority):
        deeds.append(Deed(Act.RESTART_ETCD))
    # One whose file lacks can't run; systemd starts it again and again, so it needs no restart for a new file.
    outdated = [name for name, secrets in uses.items() if name in seen.stale or set(secrets) & set(seen.changes)]
    return (*deeds, *(Deed(Act.RESTART, (name,)) for name in outdated))


def _has_old_authority(phase: Phase, seen: Seen, authority: str) -> bool:
    """Return whether etcd may have read another CA file. Where all depends on it, not knowing is not enough."""
    if seen.trusts:
        return seen.trusts != authority
    return phase in (Phase.TRUST, Phase.RETIRE) or AUTHORITY_FILE in seen.changes


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until these machines are well, before anything else is touched."""

    machines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """Do these on one machine, then look at it again."""

    machine: str
    deeds: tuple[Deed, ...]


@dataclass(frozen=True, slots=True)
class Enter:
    """The phase is over: record the next one, then begin it."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Finish:
    """All is done."""


Action = Gate | Work | Enter | Finish


def next_action(
    phase: Phase,
    seen: Iterable[Seen],
    gated: Collection[str],
    authority: str,
    uses: Mapping[str, Collection[str]],
) -> Action:
    """Return what to do next. `gated`: machines that were found well since something was last done on them.

    A machine on which nothing is left to do is waited for first: its last restart may be that of somebody who was
    killed. One that is not well goes first, since the change may be what it needs; others wait for it.
    """
    left = {it.name: (it, work(phase, it, authority, uses)) for it in seen}
    done = tuple(name for name, (_, deeds) in left.items() if not deeds and name not in gated)
    if done:
        return Gate(done)
    waiting = sorted(
        ((it, deeds) for it, deeds in left.values() if deeds), key=lambda pair: (not pair[0].trouble, pair[0].name)
    )
    if waiting:
        return Work(waiting[0][0].name, waiting[0][1])
    return Enter(NEXT[phase]) if phase in NEXT else Finish()
