"""etcd's snapshot files: its database, and behind it the SHA-256 of that.

Source: https://etcd.io/docs/v3.4/op-guide/recovery/ and snapshot/v3_snapshot.go of etcd 3.4. The database is bbolt's:
whole pages, of which the first holds a magic number at its 17th byte.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from argosy.errors import ConfigError, EtcdError

SUM_BYTES = 32
SECTOR_BYTES = 512
MAGIC = b"\xed\xda\x0c\xed"
MAGIC_AT = 16
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified file. `sha256`: hexadecimal, of the database in it; `revision`: the newest that is surely in it, and
    `member` where it comes from: 0 and empty for a file that was found."""

    path: Path
    size_bytes: int
    sha256: str
    revision: int = 0
    member: str = ""


def verify(path: Path) -> Snapshot:
    """Return the snapshot in `path`. Raises ConfigError for a file that is none, or is damaged or cut off."""
    try:
        with path.open("rb") as stream:
            return _verified(path, stream)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", str(path)) from None


def write(path: Path, blobs: Iterator[bytes]) -> Snapshot:
    """Write the snapshot that comes in `blobs` to `path`, 0600: the whole of it, verified, or nothing.

    Raises EtcdError when what came is not whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for blob in blobs:
                stream.write(blob)
            stream.flush()
            os.fsync(stream.fileno())
        found = verify(part)
        part.replace(path)
    except ConfigError as error:
        raise EtcdError(f"what etcd sent is no whole snapshot ({error.message}); try again") from None
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return Snapshot(path, found.size_bytes, found.sha256)


def _verified(path: Path, stream: BinaryIO) -> Snapshot:
    size = os.fstat(stream.fileno()).st_size
    if size % SECTOR_BYTES != SUM_BYTES:
        raise ConfigError("no snapshot of etcd, or not the whole of one: its length is not that of one", str(path))
    digest = hashlib.sha256()
    left = size - SUM_BYTES
    while left:
        chunk = stream.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise ConfigError("it became shorter while it was read", str(path))
        if left == size - SUM_BYTES and chunk[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
            raise ConfigError("no snapshot of etcd: it does not begin as a database does", str(path))
        digest.update(chunk)
        left -= len(chunk)
    if stream.read(SUM_BYTES) != digest.digest():
        raise ConfigError("damaged: its content does not have the SHA-256 that stands at its end", str(path))
    return Snapshot(path, size, digest.hexdigest())
