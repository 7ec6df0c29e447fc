"""`cluster.backup`: all that etcd holds, in one verified file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.errors import Refused
from argosy.etcd.snapshots import Snapshot
from argosy.model import Step


def plan(settings: Settings, path: Path, *, force: bool = False) -> list[Step]:
    """Return what `backup` would do. Raises Refused for a file that is there already."""
    _refuse_overwriting(path, force)
    names = ", ".join(it.name for it in inventory.select(settings))
    return [Step("etcd", f"save what the furthest member of {names} holds in {path}")]


def backup(settings: Settings, path: Path, *, force: bool = False) -> Snapshot:
    """Save all that etcd holds in `path`, readable for its owner alone; also without a quorum.

    `force`: replace a file that is there, in one step. Raises Refused, EtcdError.
    """
    _refuse_overwriting(path, force)
    with etcd.connect(settings, inventory.select(settings)) as store:
        return store.snapshot(path)


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return `{"path", "size_bytes", "sha256", "revision", "member"}`."""
    return {
        "path": str(snapshot.path),
        "size_bytes": snapshot.size_bytes,
        "sha256": snapshot.sha256,
        "revision": snapshot.revision,
        "member": snapshot.member,
    }


def _refuse_overwriting(path: Path, force: bool) -> None:
    if path.is_dir():
        raise Refused(f"{path} is a folder: give the name of a file")
    if path.exists() and not force:
        raise Refused(f"{path} is there already: give another name, or --force to replace it")
