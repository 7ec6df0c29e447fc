"""A machine's state in etcd, changed under the lock: in service, or draining."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from argosy.discovery_report import newest_revision
from argosy.errors import ArgosyError, EtcdError, Refused
from argosy.etcd import Delete, Put, unchanged
from argosy.model import MachineState
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.journal import MAX_DEEDS, Store
from argosy.schema import FOLLOWED, MACHINES, SERVICES, drain_key, machine_key

ATTEMPTS = 10
"""Of a write that others are faster than, or whose answer is lost."""
MARK = "rollout"
"""The value of the drain keys that we put; those that somebody puts by hand stay."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A router that has applied `revision` knows. `already`: it was so before."""

    revision: int
    already: bool


def states(store: Store) -> dict[str, str]:
    """Return the state of every machine that etcd knows, by name; `unknown` for a record that can't be read."""
    found = {}
    for entry in store.get_prefix(MACHINES).entries:
        record = _object(entry.value)
        found[entry.key.removeprefix(MACHINES)] = str(record.get("state", MachineState.ACTIVE)) if record else "unknown"
    return found


def is_needed(store: Store, name: str) -> bool:
    """Return whether no other machine is in service, so that draining this one would leave nobody."""
    return not any(state == MachineState.ACTIVE for other, state in states(store).items() if other != name)


def set_state(store: Store, lock: ClusterLock, name: str, state: MachineState) -> Changed:
    """Set the state in /machines/NAME and leave the rest of it. Idempotent. Raises Refused for a machine without one.

    Its instances drain, or come back, with it: while they drain nobody sends them anything new. One that no other can
    stand in for stays.
    """
    key = machine_key(name)
    for attempt in range(1, ATTEMPTS + 1):
        entry = store.get(key)
        record = _object(entry.value) if entry else None
        if entry is None or record is None:
            raise Refused(f"{name}: no JSON object stands under {key} in etcd: is it installed?")
        deeds = list(_instance_deeds(store, name, drain=state is MachineState.DRAINING))
        if record.get("state") == state and not deeds:
            return Changed(newest_revision(it for prefix in FOLLOWED for it in store.get_prefix(prefix).entries), True)
        for start in range(0, len(deeds), MAX_DEEDS):
            lock.write(deeds[start : start + MAX_DEEDS])
        try:
            done = lock.transact([unchanged(entry)], [Put(key, json.dumps({**record, "state": str(state)}))])
        except EtcdError:
            if attempt == ATTEMPTS:
                raise
            lock.pause()
            continue
        if done.succeeded:
            return Changed(done.revision, record.get("state") == state)
    raise EtcdError(f"{key} in etcd is written all the time by somebody else")


def take_out(store: Store, lock: ClusterLock, name: str, wait_until_quiet: Callable[[int], None]) -> bool:
    """Take the machine out of service, unless nobody would be left, and return whether it is out.

    `wait_until_quiet`: called with the revision that routers must have applied; when it fails, a machine that was in
    service before is put back.
    """
    if is_needed(store, name):
        return False
    changed = set_state(store, lock, name, MachineState.DRAINING)
    try:
        wait_until_quiet(changed.revision)
    except ArgosyError:
        if not changed.already:
            set_state(store, lock, name, MachineState.ACTIVE)
        raise
    return True


def _instance_deeds(store: Store, machine: str, *, drain: bool) -> Iterator[Put | Delete]:
    """Give what drains the machine's instances, or ends that."""
    hosts: dict[str, list[str]] = {}
    drained: dict[str, str] = {}
    for entry in store.get_prefix(SERVICES).entries:
        service, _, rest = entry.key.removeprefix(SERVICES).partition("/")
        attribute, _, instance = rest.partition("/")
        if attribute == "hosts":
            hosts.setdefault(service, []).append(instance)
        elif attribute == "drain":
            drained[entry.key] = entry.value
    if drain:
        yield from (Put(key, MARK) for key in _to_drain(hosts, drained, f"{machine}:"))
    else:
        mine = (key for key in drained if key.rpartition("/")[2].startswith(f"{machine}:"))
        yield from (Delete(key) for key in mine if drained[key] == MARK)


def _to_drain(hosts: dict[str, list[str]], drained: dict[str, str], own: str) -> Sequence[str]:
    keys = []
    for service, instances in hosts.items():
        serving = [it for it in instances if drain_key(service, it) not in drained]
        ours = [it for it in serving if it.startswith(own)]
        if len(ours) < len(serving):
            keys += [drain_key(service, it) for it in ours]
    return keys


def _object(text: str) -> dict[str, object] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
