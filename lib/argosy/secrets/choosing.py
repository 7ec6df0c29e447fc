"""Pure. Which set of secrets a checkout gets from what the machines hold, and from which machine each file.

The newest generation that the machines have whole: the one that has been begun, if it has come somewhere with all its
files, else the one before it. Without a record the machines must agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from argosy.secrets.generations import Generation, SecretsRecord, fingerprint
from argosy.secrets.names import OWN_SECRETS


@dataclass(frozen=True, slots=True)
class Chosen:
    """`sources`: machine that has it, by the name of each file that all machines have alike; `generation`: None without
    a record; `gives_up`: another generation has been begun and nobody has it whole."""

    sources: Mapping[str, str]
    generation: Generation | None = None
    gives_up: bool = False


def choose(
    record: SecretsRecord | None,
    held: Mapping[str, Mapping[str, str]],
    unasked: Collection[str] = (),
    key: bytes | None = None,
) -> Chosen:
    """Return what to take. `held`: the SHA-256 of each file of each machine; `key`: of the fingerprints.

    Raises ValueError, with the reason, when there is no set to be had.
    """
    if record is None:
        return Chosen(_agreed(held))
    for generation in record.generations:
        sources = _whole(generation, held, key)
        if sources is not None:
            gives_up = record.intended is not None and generation is not record.intended
            if gives_up and unasked:
                names = ", ".join(unasked)
                raise ValueError(
                    f"{record.intended} has begun and not ended, and {names} can't be asked how far it came"
                )
            return Chosen(sources, generation, gives_up)
    newest = record.generations[0] if record.generations else None
    raise ValueError(f"no machine that can be asked has all of {newest or 'a generation'}")


def _agreed(held: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    sources: dict[str, str] = {}
    for machine, files in held.items():
        for name, sha256 in files.items():
            if name in OWN_SECRETS:
                continue
            first = sources.setdefault(name, machine)
            if held[first][name] != sha256:
                raise ValueError(f"{first} and {machine} hold different {name}, and nobody knows which is the newer")
    if not sources:
        raise ValueError("no machine that can be asked holds any secrets")
    return sources


def _whole(generation: Generation, held: Mapping[str, Mapping[str, str]], key: bytes | None) -> dict[str, str] | None:
    """Return who has each file of the generation, None when one is nowhere."""
    if key is None:
        return None
    sources: dict[str, str] = {}
    for name, value in generation.files.items():
        if ":" in name:
            continue
        who = (machine for machine, files in held.items() if _matches(key, name, files.get(name), value))
        source = next(who, None)
        if source is None:
            return None
        sources[name] = source
    return sources


def _matches(key: bytes, name: str, sha256: str | None, value: str) -> bool:
    return sha256 is not None and fingerprint(key, name, sha256) == value
