"""Which machines a cluster has, and by which ssh host keys they are known: its etcd holds it, a checkout remembers it.

/machines/NAME has, beside what the machine itself writes there, what an operator has found out about it:

    {"address": "10.0.0.1", ..., "os": "debian", "host_keys": ["ssh-ed25519 AAAA..."]}

Whoever changes the cluster notes the host keys of the machines that a connection of theirs has just proven right.
Another checkout learns machines and keys that it does not have. A key that is pinned in it stays: only `cluster.trust`
puts another in its place. Every member shows a certificate of the cluster's CA, and so vouches for what it tells.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from argosy import etcd, inventory
from argosy.cluster.lock import ClusterLock
from argosy.config.loading import Settings
from argosy.errors import ConfigError, EtcdError
from argosy.etcd import Put
from argosy.etcd.values import Entry, Reader, unchanged
from argosy.model import Machine
from argosy.pki import authority
from argosy.report import Report, silent
from argosy.schema import MACHINES, MachineRecord, machine_key, parse_machine
from argosy.ssh import known_hosts, pins
from argosy.ssh.known_hosts import HostKey
from argosy.text import json_object


def select(settings: Settings, words: Sequence[str] = (), report: Report = silent) -> list[Machine]:
    """Return the machines of the cluster that `words` (names or addresses) mean; all of them when there are none.

    The cluster is asked when this checkout knows no machine, or not one of these. Raises ConfigError.
    """
    try:
        return inventory.select(settings, words)
    except ConfigError as unknown:
        try:
            if not learn(settings, report):
                raise
        except EtcdError as error:
            raise ConfigError(f"{unknown}; and the cluster can't be asked: {error}") from None
    return inventory.select(settings, words)


def learn(settings: Settings, report: Report = silent) -> list[Machine]:
    """Ask the cluster's etcd at the machines that are known here, by whatever; return those that are new.

    Returns none where this checkout has no certificate for etcd. Raises EtcdError when nobody answers.
    """
    folder = settings.secrets_path
    seeds = _seeds(settings)
    if not seeds or not authority.authority_path(folder).exists() or not authority.has_operator(folder):
        return []
    with etcd.connect(settings, seeds) as store:
        return take(settings, read(store), report)


def learn_host_keys(settings: Settings) -> None:
    """Ask the cluster for host keys that are not pinned here; while it can't be asked, none are trusted but these."""
    with suppress(EtcdError):
        learn(settings)


def read(store: Reader) -> list[MachineRecord]:
    """Return what etcd tells of the cluster's machines. Raises EtcdError."""
    records = map(parse_machine, store.get_prefix(MACHINES).entries)
    return [record for record in records if isinstance(record, MachineRecord)]


def take(settings: Settings, told: Iterable[MachineRecord], report: Report = silent) -> list[Machine]:
    """Remember the machines and host keys that etcd tells and this checkout lacks; return those machines.

    Idempotent. A record that can be no machine's is told, and not used.
    """
    records = [record for record in told if record.address]
    new = new_machines(records, inventory.load(settings), settings.machine.os)
    unfit = unfit_machines(new)
    for name, problem in unfit.items():
        report(name, f"its record in etcd is not used: {problem}")
    found = [machine for machine in new if machine.name not in unfit]
    for record in records:
        if record.name in unfit:
            continue
        machine, keys = Machine(record.name, record.address), _host_keys(record, report)
        if keys and not pins.pinned(settings, machine):
            pins.pin(settings, machine, *keys)
    if found:
        inventory.remember(settings, found)
        report("cluster", f"its etcd tells of {', '.join(machine.name for machine in found)}, not known here so far")
    return found


def note(settings: Settings, store: Reader, lock: ClusterLock, verified: Iterable[Machine]) -> None:
    """Record the pinned host keys of machines that a connection has just proven to have them. Idempotent.

    A machine without a record, as before its install, gets none. Raises LockLost, EtcdError.
    """
    known = [Known(machine, pins.pinned(settings, machine)) for machine in verified]
    if not known:
        return
    entries = {entry.key: entry for entry in store.get_prefix(MACHINES).entries}
    for entry, text in changed_records(known, entries):
        # A machine that writes its record just now keeps what it has written: the next change notes the keys.
        lock.transact([unchanged(entry)], [Put(entry.key, text)])


@dataclass(frozen=True, slots=True)
class Known:
    """A machine and the host keys by which it has been reached."""

    machine: Machine
    keys: Sequence[HostKey]


def changed_records(known: Iterable[Known], entries: dict[str, Entry]) -> Iterator[tuple[Entry, str]]:
    """Yield the records that lack something of `known`, each with the text to be written. Does nothing else."""
    for found in known:
        entry = entries.get(machine_key(found.machine.name))
        record = json_object(entry.value) if entry else None
        if entry is None or record is None or record.get("address") != found.machine.address or not found.keys:
            continue
        wanted = {"os": found.machine.os, **record, "host_keys": sorted(map(str, found.keys))}
        if wanted != record:
            yield entry, json.dumps(wanted)


def new_machines(records: Iterable[MachineRecord], known: Sequence[Machine], os: str) -> list[Machine]:
    """Return the machines whose names and addresses are both unknown. `os`: of one whose record does not tell it; one
    whose record tells no address is none."""
    names, addresses = {machine.name for machine in known}, {machine.address for machine in known}
    return [
        Machine(record.name, record.address, record.os or os, dict(record.metadata))
        for record in records
        if record.address and record.name not in names and record.address not in addresses
    ]


def unfit_machines(machines: Sequence[Machine]) -> dict[str, str]:
    """Return by name which of these can't be remembered, and why. Pure."""
    times = Counter(machine.address for machine in machines)
    shared = {
        machine.name: f"{machine.address} is another's, too" for machine in machines if times[machine.address] > 1
    }
    problems = {machine.name: inventory.problem_of(machine) for machine in machines}
    return shared | {name: problem for name, problem in problems.items() if problem}


def _host_keys(record: MachineRecord, report: Report) -> list[HostKey]:
    try:
        return [HostKey.parse(line) for line in record.host_keys]
    except ValueError as error:
        report(record.name, f"its host keys in etcd are not used: {error}")
        return []


def _seeds(settings: Settings) -> list[Machine]:
    """Return what may be a machine of the cluster: known ones, configured ones, and any whose host key is pinned."""
    known = [*inventory.load(settings)]
    known += [Machine(name, entry.address) for name, entry in settings.machines.items()]
    pinned = known_hosts.read(pins.path(settings))
    places = map(known_hosts.place, pinned)
    known += [Machine(address, address) for address, port in places if port == settings.ssh.port]
    return list({machine.address: machine for machine in reversed(known)}.values())
