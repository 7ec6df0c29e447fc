"""A machine's state in etcd, changed under the lock: in service, or draining."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from argosy.errors import ArgosyError, EtcdError, Refused
from argosy.etcd import Put, unchanged
from argosy.model import MachineState
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.journal import Store
from argosy.schema import MACHINES, machine_key

ATTEMPTS = 10
"""Of a write that others are faster than, or whose answer is lost."""


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

    The machine's own agent follows: while it drains its instances are not registered.
    """
    key = machine_key(name)
    for attempt in range(1, ATTEMPTS + 1):
        entry = store.get(key)
        record = _object(entry.value) if entry else None
        if entry is None or record is None:
            raise Refused(f"{name}: no JSON object stands under {key} in etcd: is it installed?")
        if record.get("state") == state:
            return Changed(entry.mod_revision, already=True)
        try:
            done = lock.transact([unchanged(entry)], [Put(key, json.dumps({**record, "state": str(state)}))])
        except EtcdError:
            if attempt == ATTEMPTS:
                raise
            lock.pause()
            continue
        if done.succeeded:
            return Changed(done.revision, already=False)
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


def _object(text: str) -> dict[str, object] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
