"""The templates of the release in /var/lib/SYSTEM/templates, where the agent reads them (docs/templates.md).

    current       a link to one of the two folders beside it, with conf.d/ and templates/
    a, b          one holds what `current` shows; the other one is what comes next, or not there

The link turns in one step, so the agent sees the old files or the new ones. The folder itself stays: it is mounted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from argosy import atomic
from argosy_installer.machine import Machine
from argosy_installer.progress import Say
from argosy_installer.release import Release, read_tree

CURRENT = "current"
SLOTS = ("a", "b")


def install(machine: Machine, release: Release, say: Say) -> None:
    """Make the templates those of the release, and no others. Can be run again after any end."""
    folder = machine.state / "templates"
    shown = _shown(folder)
    if read_tree(folder / shown) != release.templates if shown else release.templates:
        _replace(folder, next(slot for slot in SLOTS if slot != shown), release.templates)
        say(f"templates: {len(release.templates)} files written")
    _tidy(folder)


def _shown(folder: Path) -> str:
    """Return the slot that the link shows; empty when there is no link, or it leads elsewhere."""
    link = folder / CURRENT
    target = str(link.readlink()) if link.is_symlink() else ""
    return target if target in SLOTS and (folder / target).is_dir() else ""


def _replace(folder: Path, slot: str, wanted: Mapping[str, bytes]) -> None:
    new = folder / slot
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(parents=True)
    for path, content in wanted.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        atomic.write(new / path, content)
    for made in (new, *(path for path in new.rglob("*") if path.is_dir())):
        atomic.sync_folder(made)
    aside = folder / f".{CURRENT}.new"
    aside.unlink(missing_ok=True)
    aside.symlink_to(slot)
    aside.replace(folder / CURRENT)
    atomic.sync_folder(folder)


def _tidy(folder: Path) -> None:
    """Remove the slot that is not shown."""
    shown = _shown(folder)
    for slot in SLOTS:
        if shown and slot != shown and (folder / slot).exists():
            shutil.rmtree(folder / slot)
