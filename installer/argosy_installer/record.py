"""What stays of an installation: install.json, what the release and its units were, words of shells and consoles, the
key in etcd."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from argosy import atomic
from argosy_installer import files
from argosy_installer.errors import Failure, TryAgain
from argosy_installer.etcd import Etcd
from argosy_installer.machine import Machine, read_json
from argosy_installer.release import Release

ATTEMPTS = 10
"""Of a compare-and-swap: somebody else writes the machine's key now and then, not all the time."""


def result(
    machine: Machine, state: str, seconds: float = 0, failures: Sequence[Failure] = (), reason: str = ""
) -> dict[str, Any]:
    """Return the content of install.json. `reason`: why it is installing still."""
    return {
        "state": state,
        "release": machine.version,
        "machine": machine.name,
        "seconds": round(seconds, 1),
        "failed": [asdict(failure) for failure in failures],
        **({"reason": reason} if reason else {}),
    }


def write_result(machine: Machine, content: dict[str, Any]) -> None:
    atomic.write(machine.install_record, json.dumps(content).encode() + b"\n")


def write_unit_digests(machine: Machine, release: Release) -> None:
    """Write units.sha256 as sha256sum(1) checks it: so it takes no container to see whether somebody has edited one."""
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(release.units.items())]
    atomic.write_if_changed(machine.state / "units.sha256", "".join(lines).encode())


def write_release(machine: Machine, release: Release) -> None:
    """Write release.json: what the agent has to know of the release to tell how the machine is."""
    document = json.loads((machine.release / "release.json").read_text())
    content = {"version": machine.version, "release": document, "units": release.units}
    atomic.write_if_changed(machine.state / "release.json", json.dumps(content).encode() + b"\n")


def write_service_words(machine: Machine, release: Release) -> None:
    """Write services/NAME.shell and NAME.console, one word a line, for the command on the machine."""
    folder = machine.state / "services"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{service.name}.shell": service.shell for service in release.services}
    wanted |= {f"{service.name}.console": service.console for service in release.services if service.console}
    for name, words in wanted.items():
        atomic.write_if_changed(folder / name, "".join(f"{word}\n" for word in words).encode())
    for path in folder.iterdir():
        if path.name not in wanted:
            files.remove(path)


def register(etcd: Etcd, machine: Machine) -> None:
    """Record the machine as active under /machines/NAME, keeping what others have written there.

    A machine that is draining stays so: whoever drained it says when it is over.
    """
    key = f"/machines/{machine.name}"
    for _ in range(ATTEMPTS):
        present = etcd.get(key)
        wanted = json.dumps(merged(present.text, machine, read_json(machine.config / "metadata.json")))
        if present.text == wanted or etcd.put_if_unchanged(key, wanted, present.revision):
            return
    raise TryAgain(f"{key} in etcd is written all the time by somebody else")


def merged(present: str, machine: Machine, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the machine's record: what `present` (JSON, or empty) holds, with what this installation knows on top."""
    try:
        before = json.loads(present)
    except ValueError:
        before = {}
    if not isinstance(before, dict):
        before = {}
    known = {
        "address": machine.address,
        "role": machine.role,
        "release": machine.version,
        "state": "draining" if before.get("state") == "draining" else "active",
        "metadata": {**before.get("metadata", {}), **metadata},
    }
    return {**before, **known}
