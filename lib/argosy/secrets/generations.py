"""Pure. Which set of secrets a cluster has: one generation after the other, each with who brought it, and from where.

    /cluster/secrets = {"id", "present": GENERATION or null, "intended": GENERATION or null, "earlier": {FILE: [PRINT]}}
    GENERATION = {"number", "by", "checkout", "folder", "at", "files": {FILE: PRINT}}

FILE is a name in the machines' folder of secrets, or MACHINE:NAME for what each machine has of its own. PRINT is an
HMAC under `fingerprint.key`, which is itself one of the secrets and never in etcd: whoever reads the record can't try
passwords against it. `intended` is written before the first machine is touched and becomes `present` when all have it;
while it stands, machines may have files of both. The checkout remembers the record as it last knew it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from argosy.cluster.stored import Moment, StoredRecord

KEY = "/cluster/secrets"
PRINT_LENGTH = 32
EARLIER_KEPT = 16
"""Earlier fingerprints of each file: a machine that was left out of more changes than that holds something unknown."""


@dataclass(frozen=True, slots=True)
class Generation:
    """`by`: USER@HOST; `checkout`: the id of the checkout it came from; `folder`: that checkout's secrets folder."""

    number: int
    by: str
    checkout: str
    folder: str
    at: Moment
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"generation {self.number} by {self.by} from {self.folder}"


@dataclass(frozen=True, slots=True)
class SecretsRecord(StoredRecord):
    """`present`: what the machines were last brought to, None before that ended once; `intended`: what has been begun
    since; `earlier`: what machines that were left out may still hold."""

    WHAT: ClassVar[str] = "the cluster's secrets"

    id: str
    present: Generation | None = None
    intended: Generation | None = None
    earlier: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        return max((generation.number for generation in self.generations), default=0)

    @property
    def generations(self) -> tuple[Generation, ...]:
        return tuple(filter(None, (self.intended, self.present)))

    def has(self, name: str) -> bool:
        """Return whether the cluster has a file of this name, by what was brought or begun."""
        return any(name in generation.files for generation in self.generations)

    def knows(self, name: str, fingerprint: str) -> bool:
        """Return whether this content was brought by somebody at any time."""
        found = [generation.files.get(name) for generation in self.generations]
        return fingerprint in (*found, *self.earlier.get(name, ()))


@dataclass(frozen=True, slots=True)
class Remembered(StoredRecord):
    """What a checkout remembers: its own id, and the record as it last knew it."""

    WHAT: ClassVar[str] = "a checkout's secrets"

    checkout: str
    record: SecretsRecord


def fingerprint(key: bytes, name: str, sha256: str) -> str:
    """Return what stands in the record for a file with this content."""
    return hmac.new(key, f"{name}\0{sha256}".encode(), hashlib.sha256).hexdigest()[:PRINT_LENGTH]


def own_name(machine: str, name: str) -> str:
    """Return the name in the record of a file that only one machine has."""
    return f"{machine}:{name}"


def merged_files(
    record: SecretsRecord, common: Mapping[str, str], own: Mapping[str, str], machines: tuple[str, ...]
) -> dict[str, str]:
    """Return the files of the next generation. `own`: those of `machines`; of others they stay as they were."""
    last = record.generations[0].files if record.generations else {}
    kept = {name: value for name, value in last.items() if ":" in name and name.partition(":")[0] not in machines}
    return dict(sorted({**common, **kept, **own}.items()))


def begun(record: SecretsRecord, generation: Generation) -> SecretsRecord:
    """Return the record in which `generation` is intended, with the number of what it resumes; its own one is the least
    that it may have."""
    left = record.intended
    resumes = left is not None and left.files == generation.files
    number = left.number if left and resumes else max(record.newest + 1, generation.number)
    earlier = _remembering(record.earlier, left.files if left else {}, generation.files)
    return replace(record, intended=replace(generation, number=number), earlier=earlier)


def ended(record: SecretsRecord) -> SecretsRecord:
    """Return the record in which what was intended is present."""
    if record.intended is None:
        return record
    last = record.present.files if record.present else {}
    earlier = _remembering(record.earlier, last, record.intended.files)
    return replace(record, present=record.intended, intended=None, earlier=earlier)


def given_up(record: SecretsRecord) -> SecretsRecord:
    """Return the record without what was intended; where it has come to, it is known as an earlier one."""
    if record.intended is None:
        return record
    present = record.present.files if record.present else {}
    return replace(record, intended=None, earlier=_remembering(record.earlier, record.intended.files, present))


def _remembering(
    earlier: Mapping[str, tuple[str, ...]], old: Mapping[str, str], new: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    found = dict(earlier)
    for name, value in old.items():
        if new.get(name) != value:
            others = [known for known in found.get(name, ()) if known != value]
            found[name] = (*others, value)[-EARLIER_KEPT:]
    return found
