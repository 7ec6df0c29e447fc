"""The machines of a cluster: which words mean which machine, and the file that remembers them.

`.argosy/CLUSTER/machines.json` (Settings.state_path), written atomically, sorted by name:

    {"machines": [{"name": "air-01", "address": "192.168.55.101", "os": "debian", "metadata": {"tier": "green"}}]}
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from argosy import atomic
from argosy.config.loading import NAME_PATTERN, MachineEntry, Name, Settings
from argosy.errors import ConfigError, nearest
from argosy.model import Machine

FILE_NAME = "machines.json"


class _MachineRecord(MachineEntry):
    name: Name


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    machines: list[_MachineRecord]


def load(settings: Settings) -> list[Machine]:
    """Return the cluster's machines, sorted by name; none when none were set up. Raises ConfigError for a bad file."""
    path = _path(settings)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}; make it readable", str(path)) from None
    try:
        document = _Document.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"not a list of machines ({_first(error)}); repair or remove it", str(path)) from None
    machines = [
        Machine(machine.name, machine.address, machine.os or settings.machine.os, machine.metadata)
        for machine in document.machines
    ]
    _refuse_duplicates(machines, str(path))
    return sorted(machines, key=_by_name)


def problem_of(machine: Machine) -> str:
    """Return why the machine can't stand in the file, or an empty string. Pure."""
    try:
        _MachineRecord.model_validate(asdict(machine))
    except ValidationError as error:
        return _first(error)
    return ""


def save(settings: Settings, machines: Iterable[Machine]) -> None:
    """Make `machines` all the machines of the cluster. Idempotent; the same machines give the same bytes.

    Raises ConfigError, with nothing written, for those that `load` would not take.
    """
    ordered = sorted(machines, key=_by_name)
    _refuse_duplicates(ordered, "machines")
    for machine in ordered:
        if problem := problem_of(machine):
            raise ConfigError(problem, f"machines.{machine.name}")
    records = [{**asdict(machine), "metadata": dict(sorted(machine.metadata.items()))} for machine in ordered]
    settings.state_path.mkdir(parents=True, exist_ok=True)
    atomic.write_if_changed(_path(settings), (json.dumps({"machines": records}, indent=2) + "\n").encode())


def is_written(settings: Settings) -> bool:
    """Return whether this host knows which machines there are, be it none: not so before it has set one up."""
    return _path(settings).exists()


def remember(settings: Settings, machines: Iterable[Machine]) -> list[Machine]:
    """Add `machines` to the file, each replacing the one of the same name; return all. Safe beside another run."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    with atomic.locked(settings.state_path / ".machines.lock"):
        known = {machine.name: machine for machine in load(settings)}
        known.update({machine.name: machine for machine in machines})
        save(settings, known.values())
    return load(settings)


def forget(settings: Settings, names: Iterable[str]) -> list[Machine]:
    """Drop the machines of these names from the file, return the rest. Names that are not there are fine."""
    if not settings.state_path.is_dir():
        return []
    gone = set(names)
    with atomic.locked(settings.state_path / ".machines.lock"):
        save(settings, [machine for machine in load(settings) if machine.name not in gone])
    return load(settings)


def resolve(settings: Settings, words: Sequence[str], beside: Sequence[Machine] = ()) -> list[Machine]:
    """Return the machines that `words` mean, in their order; new addresses get names. Writes nothing.

    `beside`: machines of the cluster that the file may not know, whose names and addresses are taken, too.

    A word is an IPv4 address, the name of a known machine (of machines.json or of `machines:` in the
    configuration), or NAME=IP. Raises ConfigError for a word that is none of these, for an address that machines can't
    reach each other by, and for duplicates.
    """
    known = {machine.name: machine for machine in (*beside, *load(settings))}
    return resolve_words(words, list(known.values()), _configured(settings), settings.system, settings.machine.os)


def select(settings: Settings, words: Sequence[str] = ()) -> list[Machine]:
    """Return the cluster's known machines that `words` (names or addresses) mean; all of them when there are none."""
    known = load(settings)
    if not known:
        raise ConfigError(
            f"no machine of cluster {settings.cluster!r} is known yet; set it up first, or, where it was set up "
            "elsewhere, inv operator.join BUNDLE (or inv cluster.trust ADDRESS, then inv secrets.fetch ADDRESS)",
            "machines",
        )
    by_word = {word: machine for machine in known for word in (machine.name, machine.address)}
    for word in words:
        if word not in by_word:
            raise ConfigError(f"cluster {settings.cluster!r} has no such machine{_known(word, by_word)}", word)
    chosen = {by_word[word].name: by_word[word] for word in words}
    return list(chosen.values()) if words else known


def resolve_words(
    words: Sequence[str], known: Sequence[Machine], configured: Sequence[Machine], system: str, os: str
) -> list[Machine]:
    """Do what `resolve` does, given the machines of the file (`known`) and of the configuration."""
    machines = _merged(known, configured)
    taken = {machine.name for machine in machines} | {name for name, _, _ in (word.partition("=") for word in words)}
    found: list[Machine] = []
    for word in words:
        machine = _resolve_word(word, machines, system, os, taken)
        taken.add(machine.name)
        found.append(machine)
    _refuse_duplicates(found, "machines")
    return found


def check_address(word: str) -> str:
    """Return `word` if it is an IPv4 address by which other machines can reach a machine; else raise ConfigError."""
    try:
        address = ipaddress.IPv4Address(word)
    except ValueError:
        raise ConfigError("not an IPv4 address, such as 10.0.0.1", word) from None
    if address in ipaddress.IPv4Network("0.0.0.0/8") or address.is_multicast or address.is_reserved:
        raise ConfigError("not the address of a machine; give the one that the other machines reach it by", word)
    if address.is_loopback:
        raise ConfigError("a loopback address means another machine on each; give the one the others reach it by", word)
    return word


def next_name(system: str, taken: Iterable[str]) -> str:
    """Return SYSTEM-NN with the lowest number from 01 that is not in `taken`."""
    used = set(taken)
    number = 1
    while f"{system}-{number:02}" in used:
        number += 1
    return f"{system}-{number:02}"


def _resolve_word(word: str, machines: Sequence[Machine], system: str, os: str, taken: set[str]) -> Machine:
    by_name = {machine.name: machine for machine in machines}
    by_address = {machine.address: machine for machine in machines}
    if word in by_name:
        return by_name[word]
    name, equals, address = word.partition("=")
    if equals:
        return _resolve_pair(name, check_address(address), by_name, by_address, os)
    if not re.fullmatch(r"[0-9.]+", word):
        raise ConfigError(f"neither an IPv4 address nor a known machine{_known(word, by_name)}", word or "machines")
    check_address(word)
    return by_address.get(word) or Machine(next_name(system, taken), word, os)


def _resolve_pair(
    name: str, address: str, by_name: Mapping[str, Machine], by_address: Mapping[str, Machine], os: str
) -> Machine:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError("a machine's name is made of lower-case letters, digits and dashes", f"{name}={address}")
    if name in by_name and by_name[name].address != address:
        raise ConfigError(f"{name} is already the machine at {by_name[name].address}", f"{name}={address}")
    if address in by_address and by_address[address].name != name:
        raise ConfigError(f"{address} is already the address of {by_address[address].name}", f"{name}={address}")
    return by_name.get(name) or Machine(name, address, os)


def _merged(known: Sequence[Machine], configured: Sequence[Machine]) -> list[Machine]:
    """Return all machines; where both sources have one, the configuration says its OS and metadata."""
    merged = {machine.name: machine for machine in known}
    owners = {machine.address: machine.name for machine in known}
    for machine in configured:
        there = merged.get(machine.name)
        if there and there.address != machine.address:
            raise ConfigError(
                f"{machine.name} was set up at {there.address}; remove it there first",
                f"machines.{machine.name}.address",
            )
        if owners.get(machine.address, machine.name) != machine.name:
            raise ConfigError(
                f"{machine.address} was set up as {owners[machine.address]}",
                f"machines.{machine.name}.address",
            )
        merged[machine.name] = machine
    return list(merged.values())


def _configured(settings: Settings) -> list[Machine]:
    return [
        Machine(name, check_address(entry.address), entry.os or settings.machine.os, entry.metadata)
        for name, entry in settings.machines.items()
    ]


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}"


def _refuse_duplicates(machines: Sequence[Machine], path: str) -> None:
    seen: set[str] = set()
    for word in (word for machine in machines for word in (machine.address, machine.name)):
        if word in seen:
            raise ConfigError(f"{word} is given twice", path)
        seen.add(word)


def _known(word: str, machines: Mapping[str, Machine]) -> str:
    if not machines:
        return ", and this checkout knows no machine: give an address, or inv operator.join BUNDLE first"
    names = ", ".join(sorted({machine.name for machine in machines.values()}))
    return f"{nearest(word, machines)}; known: {names}"


def _by_name(machine: Machine) -> tuple[str, int, str]:
    """Sort air-2 before air-10."""
    match = re.fullmatch(r"(.*?)(\d*)", machine.name)
    prefix, number = match.groups() if match else (machine.name, "")
    return prefix, int(number or 0), machine.name


def _path(settings: Settings) -> Path:
    return settings.state_path / FILE_NAME
