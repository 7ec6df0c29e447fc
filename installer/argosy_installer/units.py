"""Step 3: the units of the release in the host's /etc/systemd/system, and none of ours beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from argosy import atomic
from argosy_installer import files, systemd
from argosy_installer.machine import Machine
from argosy_installer.progress import Say
from argosy_installer.release import Release


@dataclass(frozen=True)
class Changes:
    """`write`: file name -> content. `remove`: names of units of services that the release no longer has."""

    write: Mapping[str, str]
    remove: tuple[str, ...]


def plan(present: Mapping[str, str], wanted: Mapping[str, str], marker: str) -> Changes:
    """Return what to write and to remove. Only a file that begins with our marker is ours to remove."""
    stale = [name for name, text in present.items() if name not in wanted and text.split("\n", 1)[0] == marker]
    write = {name: text for name, text in wanted.items() if present.get(name) != text}
    return Changes(write=write, remove=tuple(sorted(stale)))


def present_units(folder: Path, system: str) -> dict[str, str]:
    """Return the unit files whose names begin with the system's. Links are somebody else's."""
    paths = [path for path in folder.glob(f"{system}-*.service") if path.is_file() and not path.is_symlink()]
    return {path.name: path.read_text(errors="replace") for path in paths}


def install(machine: Machine, release: Release, say: Say) -> frozenset[str]:
    """Put the units in place and enable them; stop and remove those that it no longer has. Returns the changed ones.

    A unit whose file was written by an earlier run that was killed before systemd read it counts as changed.
    """
    changes = plan(present_units(machine.units, machine.system), release.units, release.marker)
    if changes.remove:
        say(f"units: stopping and removing {', '.join(changes.remove)}")
        systemd.stop_and_disable(changes.remove)
        for name in changes.remove:
            files.remove(machine.units / name)
    for name, text in changes.write.items():
        atomic.write(machine.units / name, text.encode())
    states = systemd.states(tuple(release.units))
    changed = frozenset(changes.write) | {name for name, state in states.items() if state.needs_reload}
    if changed or changes.remove:
        systemd.daemon_reload()
    disabled = [name for name, state in states.items() if not state.enabled]
    if disabled:
        systemd.enable(disabled)
    say(f"units: {', '.join(sorted(changed))} written" if changed else "units: all are as they should be")
    return changed
