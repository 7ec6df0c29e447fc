"""Pure. Whether a checkout may bring its secrets to the machines, and what of theirs that would replace or remove.

What a machine holds is never made anew by a checkout that lacks it, and never replaced or removed by one that does not
know where it is from. It knows that of what the cluster's record names (argosy.secrets.generations), provided that it
has the newest generation. A cluster without a record is one of an older release, or one that is being set up: then what
the machines hold must be what this checkout has, or less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from argosy.secrets.generations import Generation, Remembered, SecretsRecord, fingerprint, own_name
from argosy.secrets.names import OWN_SECRETS

FETCH = "inv secrets.fetch"


class Effect(StrEnum):
    """`RENEWS`: another certificate of the same key; nobody has to be asked for that."""

    ADDS = "adds"
    REPLACES = "replaces"
    REMOVES = "removes"
    RENEWS = "renews"


@dataclass(frozen=True, slots=True)
class Difference:
    """What an upload does with one file. `known`: where what the machines hold is from, if it takes that away."""

    name: str
    effect: Effect
    machines: tuple[str, ...]
    known: bool = True

    @property
    def takes(self) -> bool:
        """Whether something that machines hold would be gone."""
        return self.effect in (Effect.REPLACES, Effect.REMOVES)

    def __str__(self) -> str:
        origin = "" if self.known else ", which is not from here"
        return f"{self.effect} {self.name} on {', '.join(self.machines)}{origin}"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "change": self.effect, "machines": list(self.machines), "known": self.known}


@dataclass(frozen=True, slots=True)
class Here:
    """A checkout. `wanted`: each machine's files and their SHA-256, None for one that would have to be made; `key`: of
    the fingerprints, None when it is not here; `remembered`: None in one that never had the cluster's secrets."""

    wanted: Mapping[str, Mapping[str, str | None]]
    key: bytes | None = None
    remembered: Remembered | None = None


@dataclass(frozen=True, slots=True)
class There:
    """A cluster. `held`: each machine's files and their SHA-256, None for one that was not or could not be asked;
    `answered`: etcd did; `record`: what it said, None when it has none."""

    held: Mapping[str, Mapping[str, str] | None]
    answered: bool = True
    record: SecretsRecord | None = None

    @property
    def asked(self) -> dict[str, Mapping[str, str]]:
        return {name: held for name, held in self.held.items() if held is not None}

    @property
    def unasked(self) -> list[str]:
        return [name for name, held in self.held.items() if held is None]

    @property
    def has_nothing(self) -> bool:
        """Whether the cluster is seen to have no secrets yet: nobody's are lost by making some."""
        return self.record is None and not self.unasked and not any(self.asked.values())

    def holders(self, name: str) -> list[str]:
        return [machine for machine, held in self.asked.items() if name in held]


@dataclass(frozen=True, slots=True)
class Decision:
    """`differences`: on the machines that are meant; `refusals`: why nothing may be done, none when it may."""

    differences: tuple[Difference, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def taking(self) -> list[Difference]:
        """What has to be asked for."""
        return [difference for difference in self.differences if difference.takes]


@dataclass(frozen=True, slots=True)
class _Case:
    """`targets`: the machines that are meant; `renewing`: names of what is to be made anew, whoever holds it."""

    here: Here
    there: There
    targets: Sequence[str]
    renewing: Collection[str] = ()
    records: tuple[SecretsRecord, ...] = field(default=())

    def effect(self, machine: str, name: str) -> Effect | None:
        """Return what an upload does with a file of a machine, None when it leaves it as it is."""
        wanted, held = self.here.wanted[machine], self.there.asked[machine]
        if name not in wanted:
            return Effect.REMOVES
        if name not in held:
            return Effect.ADDS
        if wanted[name] is not None and wanted[name] == held[name]:
            return None
        key = f"{name.removesuffix('.crt')}.key"
        if name in OWN_SECRETS and name != key and key in held and wanted[key] == held[key]:
            return Effect.RENEWS
        return Effect.REPLACES

    def effects(self, machine: str) -> Iterator[tuple[str, Effect]]:
        for name in sorted({*self.here.wanted[machine], *self.there.asked[machine]}):
            effect = self.effect(machine, name)
            if effect is not None:
                yield name, effect

    def knows(self, machine: str, name: str) -> bool:
        """Return whether it is known where a file that the machine holds is from."""
        key, noted = self.here.key, _noted(machine, name)
        if key is None:
            return False
        value = fingerprint(key, noted, self.there.asked[machine][name])
        return any(record.knows(noted, value) for record in self.records)


def decide(here: Here, there: There, targets: Sequence[str], renewing: Collection[str] = ()) -> Decision:
    """Return what bringing `here`'s secrets to the machines `targets` does to them, and what forbids it.

    `renewing`: names of files that the caller makes anew on purpose.
    """
    remembered = (here.remembered.record,) if here.remembered else ()
    records = (there.record, *remembered) if there.record else remembered
    case = _Case(here, there, targets, renewing, records)
    differences = tuple(_differences(case))
    if there.has_nothing:
        return Decision(differences)
    refusals = list(_set_refusals(case)) or list(_lost(case))
    return Decision(differences, tuple(refusals or _taking_refusals(case, differences)))


def common_prints(here: Here, machine: str) -> dict[str, str]:
    """Return the fingerprints of what all machines have alike, of what is there already."""
    return {
        name: fingerprint(here.key, name, sha256)
        for name, sha256 in here.wanted[machine].items()
        if here.key is not None and sha256 is not None and name not in OWN_SECRETS
    }


def own_prints(here: Here, machine: str) -> dict[str, str]:
    """Return the fingerprints of what the machine has of its own, of what is there already."""
    return {
        own_name(machine, name): fingerprint(here.key, own_name(machine, name), sha256)
        for name, sha256 in here.wanted[machine].items()
        if here.key is not None and sha256 is not None and name in OWN_SECRETS
    }


def _differences(case: _Case) -> Iterator[Difference]:
    found: dict[tuple[str, Effect], list[str]] = {}
    for machine in case.targets:
        for name, effect in case.effects(machine):
            found.setdefault((name, effect), []).append(machine)
    for (name, effect), machines in sorted(found.items()):
        takes = effect in (Effect.REPLACES, Effect.REMOVES)
        known = not takes or all(case.knows(machine, name) for machine in machines)
        yield Difference(name, effect, tuple(machines), known)


def _set_refusals(case: _Case) -> Iterator[str]:
    """Yield why this checkout's set as a whole is not one to be brought."""
    here, there = case.here, case.there
    if there.record is None:
        if there.unasked and not any(there.asked.values()):
            yield f"{_listed(there.unasked)} can't be asked, so nobody knows whether the cluster has secrets"
        return
    newest = there.record.generations[0]
    if here.remembered is None or here.key is None or here.remembered.record.id != there.record.id:
        yield f"this checkout never had the secrets of this cluster, which has {newest}: {FETCH} brings them here"
        return
    intended, present, mine = there.record.intended, there.record.present, here.remembered.record.present
    if intended and _is_set(case, intended):
        return
    if intended and intended != here.remembered.record.intended:
        yield (
            f"{intended} has begun and not ended: run inv cluster.upload-secrets there; if that checkout is gone, "
            f"{FETCH} takes it over"
        )
    elif present and present.number > (mine.number if mine else 0) and not _is_set(case, present):
        yield f"this checkout's secrets are older than the cluster's, which has {present}: {FETCH} brings them here"


def _is_set(case: _Case, generation: Generation) -> bool:
    """Return whether what this checkout has is just that generation; what a machine lacks of its own does not count."""
    common = {name: value for name, value in generation.files.items() if ":" not in name}
    for machine in case.targets or list(case.here.wanted)[:1]:
        wanted = case.here.wanted[machine]
        if any(sha256 is None for name, sha256 in wanted.items() if name not in OWN_SECRETS):
            return False
        own = own_prints(case.here, machine) if case.targets else {}
        differs = any(generation.files.get(name, value) != value for name, value in own.items())
        if differs or common_prints(case.here, machine) != common:
            return False
    return True


def _lost(case: _Case) -> Iterator[str]:
    """Yield what would be made anew though the cluster has it."""
    lost = {
        (machine, name)
        for machine, wanted in case.here.wanted.items()
        for name, sha256 in wanted.items()
        if sha256 is None and name not in case.renewing
    }
    names: dict[str, list[str]] = {}
    for name in sorted({name for _, name in lost}):
        where = _whose(case, name, [machine for machine, lacking in sorted(lost) if lacking == name])
        if where:
            names.setdefault(where, []).append(name)
    for where, found in names.items():
        yield f"not here, but {where}: {_listed(found)}; nothing of it is made anew: {FETCH} brings it here"


def _whose(case: _Case, name: str, machines: Sequence[str]) -> str:
    """Return who has a file that `machines` lack of this checkout, empty when nobody has."""
    there = case.there
    if name in OWN_SECRETS:
        held = [machine for machine in machines if machine in case.targets and name in there.asked[machine]]
        holders = [machine for machine in held if case.effect(machine, name) is not Effect.RENEWS]
        return f"on {_listed(holders)}" if holders else ""
    holders = there.holders(name)
    if holders:
        return f"on {_listed(holders)}"
    remembered = case.here.remembered
    record = there.record or (remembered.record if remembered else None)
    if record is None:
        return f"perhaps on {_listed(there.unasked)}, which can't be asked" if there.unasked else ""
    return "in the cluster's record" if record.has(name) else ""


def _taking_refusals(case: _Case, differences: Sequence[Difference]) -> Iterator[str]:
    """Yield what would be replaced or removed though it is not known where it is from."""
    found: dict[str, list[str]] = {}
    for machine in case.there.asked:
        for name, effect in case.effects(machine):
            takes = effect in (Effect.REPLACES, Effect.REMOVES) and name not in case.renewing
            meant = machine in case.targets or name not in OWN_SECRETS
            if takes and meant and not case.knows(machine, name):
                found.setdefault(name, []).append(machine)
    for name, machines in found.items():
        yield (
            f"{name} on {_listed(machines)} is not from here: {FETCH} brings it here; where nobody needs it, remove it "
            "there"
        )
    remembered = case.here.remembered
    was_recorded = remembered is not None and remembered.record.present is not None
    if not case.there.answered and was_recorded and not found:
        taken = [difference.name for difference in differences if difference.takes]
        if taken:
            yield (
                f"{_listed(taken)} would be taken from machines, and etcd does not answer, so nobody knows whether "
                "this checkout's secrets are the newest"
            )


def _noted(machine: str, name: str) -> str:
    return own_name(machine, name) if name in OWN_SECRETS else name


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
