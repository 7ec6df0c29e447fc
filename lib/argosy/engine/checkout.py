"""Which checkout this is, so that two of them on one host never take each other's things for their own.

    STATE_DIR/checkout.json        {"id": "9f2c4e0d81b7a356", "path": "/work/air"}
    STATE_DIR/CLUSTER/host.json    {"checkout": "9f2c4e0d81b7a356", "stem": "", "chosen": {"local.subnet":
                                    {"configured": "192.168.55.0/24", "used": "192.168.56.0/24"}}}

A checkout that is moved keeps its id. A copy gets one of its own, and what host.json says of the original's clusters is
not true of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from argosy import atomic
from argosy.config.loading import Settings
from argosy.errors import ConfigError

T = TypeVar("T")

FILE_NAME = "checkout.json"
HOST_FILE_NAME = "host.json"
ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Checkout:
    """`id`: made once; `path`: where it is now, for people."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    id: str
    path: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What a setting is on this host: `used`, as long as the configuration says `configured`."""

    configured: str
    used: str


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What a cluster has of this host. `checkout`: whose cluster it is; `stem`: what the names of its containers begin
    with, when it is older than the identities of checkouts; `chosen`: dotted path of a setting -> what it is here."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    checkout: str = ""
    stem: str = ""
    chosen: Mapping[str, Choice] = field(default_factory=dict)


def checkout_of(settings: Settings) -> Checkout:
    """Return this checkout's identity: the one that is kept, else the one that `keep` would write. Changes nothing."""
    path = settings.root.resolve()
    kept = _read(_path(settings), Checkout)
    if kept is None or _is_copy(settings, kept):
        return Checkout(_new_id(path), str(path))
    return Checkout(kept.id, str(path))


def keep(settings: Settings) -> Checkout:
    """Write the identity down, before anything is made that bears it. Idempotent."""
    checkout = checkout_of(settings)
    _write(_path(settings), checkout)
    return checkout


def host_record(settings: Settings) -> HostRecord:
    """Return what the cluster has of this host; an empty record when there is none, or it is another checkout's."""
    found = stored_record(settings)
    return found if found.checkout == checkout_of(settings).id else HostRecord()


def stored_record(settings: Settings) -> HostRecord:
    """Return what host.json says, whoever wrote it."""
    return _read(settings.state_path / HOST_FILE_NAME, HostRecord) or HostRecord()


def save_record(settings: Settings, *, stem: str = "", chosen: Mapping[str, Choice] | None = None) -> None:
    """Write the record as this checkout's, with what changes: a `stem`, all that is `chosen`. Idempotent."""
    known = host_record(settings)
    record = HostRecord(keep(settings).id, stem or known.stem, known.chosen if chosen is None else chosen)
    _write(settings.state_path / HOST_FILE_NAME, record)


def path_of_original(settings: Settings) -> str:
    """Return where the checkout is whose copy the cluster's state is; empty when it is our own."""
    written = stored_record(settings).checkout
    if written in ("", checkout_of(settings).id):
        return ""
    kept = _read(_path(settings), Checkout)
    return kept.path if kept is not None and kept.id == written else f"another one ({written})"


def is_at(path: str, state_dir: str, identity: str) -> bool:
    """Return whether the checkout of this identity is at `path`. Raises ConfigError when that can't be known."""
    kept = _read(Path(path) / state_dir / FILE_NAME, Checkout)
    return kept is not None and kept.id == identity


def _is_copy(settings: Settings, kept: Checkout) -> bool:
    here, there = _path(settings), Path(kept.path) / settings.state_dir / FILE_NAME
    if kept.path == str(settings.root.resolve()) or not is_at(kept.path, settings.state_dir, kept.id):
        return False
    return not here.samefile(there)  # one folder by two names, as by a bind mount


def _new_id(path: Path) -> str:
    """Return an id that no other folder of this host has: not even one at the same path, while this one is moved."""
    status = path.stat()
    text = f"{path}\0{status.st_dev}\0{status.st_ino}"
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def _path(settings: Settings) -> Path:
    return settings.root / settings.state_dir / FILE_NAME


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}; make it readable", str(path)) from None
    except ValidationError:
        raise ConfigError("not what Argosy wrote; put it back, or remove it with what it is about", str(path)) from None


def _write(path: Path, document: Checkout | HostRecord) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_if_changed(path, (json.dumps(asdict(document), indent=2) + "\n").encode())
