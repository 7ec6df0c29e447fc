"""Pure. What an image holds, as one digest: its files and the part of its configuration that a container sees.

Image ids and layer digests change with every build, since they hold times. This digest doesn't: it is over the
flattened file system (type, mode, owner, link, extended attributes, bytes; no times) and Env, Cmd, Entrypoint, User,
WorkingDir, ExposedPorts, Volumes, StopSignal, Healthcheck, OnBuild. Labels aren't content, nor is what only depends on
the builder: the same files make the same content with each.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import IO, Any, cast

CONFIG_KEYS = (
    "Env",
    "Cmd",
    "Entrypoint",
    "User",
    "WorkingDir",
    "ExposedPorts",
    "Volumes",
    "StopSignal",
    "Healthcheck",
    "OnBuild",
)
# What the engine puts into every container, whatever the image (moby, daemon/initlayer/setup_unix.go).
ENGINE_FILES = frozenset({".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"})
ENGINE_FOLDERS = ("dev", "proc", "sys")
_BLOCK_BYTES = 1 << 20
_XATTR_PREFIX = "SCHILY.xattr."


def content_digest(exported: Iterable[bytes], config: Mapping[str, Any]) -> str:
    """Return `sha256:...` of an image's content.

    `exported`: the chunks of a `docker export` of a container made from it (read once, never held whole);
    `config`: the image's `Config`, as the engine's inspection gives it.
    """
    total = hashlib.sha256()
    with tarfile.open(fileobj=cast("IO[bytes]", _Chunks(exported)), mode="r|", bufsize=_BLOCK_BYTES) as archive:
        for line in sorted(_lines(archive, _volume_folders(config))):
            total.update(line)
    total.update(_seen(config))
    return f"sha256:{total.hexdigest()}"


def content_of_platforms(contents: Mapping[str, str]) -> str:
    """Return the content of an image that is one of each platform, from theirs; of a single one it is that one's."""
    if len(contents) == 1:
        return next(iter(contents.values()))
    return f"sha256:{hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()}"


def memo_key(layers: Iterable[str], config: Mapping[str, Any]) -> str:
    """Return what the same content always follows from, also under another image id, as with other labels.

    `layers`: the digests of its layers, uncompressed and in order (`RootFS.Layers`); `config`: see `content_digest`.
    """
    known = [*layers, *sorted(_volume_folders(config))]
    return hashlib.sha256(json.dumps(known).encode() + _seen(config)).hexdigest()


def _seen(config: Mapping[str, Any]) -> bytes:
    seen = {key: config.get(key) for key in CONFIG_KEYS if config.get(key)}
    if seen.get("WorkingDir") == "/":  # BuildKit writes out what is meant where none is set
        del seen["WorkingDir"]
    return json.dumps(seen, sort_keys=True).encode()


def _volume_folders(config: Mapping[str, Any]) -> set[str]:
    """Return the folders of the image's volumes and those above. A container has them; whether the image does depends
    on its builder: the classic one makes them by the way, with the next command that it runs."""
    found = set()
    for volume in config.get("Volumes") or ():
        parts = volume.strip("/").split("/")
        found |= {"/".join(parts[: count + 1]) for count in range(len(parts)) if parts[0] not in ENGINE_FOLDERS}
    return found - {""}


def _lines(archive: tarfile.TarFile, folders: Collection[str]) -> Iterator[bytes]:
    """Yield a line for each file; also for `folders` that the archive has not, as the engine makes them."""
    missing = set(folders)
    for member in archive:
        path = member.name.removeprefix("./").strip("/")
        missing.discard(path)
        if path not in ENGINE_FILES and path.partition("/")[0] not in ENGINE_FOLDERS:
            yield _line(path, member, archive)
        archive.members = []  # type: ignore[attr-defined] # it would remember every member otherwise
    for path in missing:
        folder = tarfile.TarInfo(path)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        yield _line(path, folder, archive)


def _line(path: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> bytes:
    attributes = sorted((key, value) for key, value in member.pax_headers.items() if key.startswith(_XATTR_PREFIX))
    device = (member.devmajor, member.devminor) if member.ischr() or member.isblk() else ()
    kind = member.type.decode("latin-1")
    entry = (path, kind, member.mode, member.uid, member.gid, member.linkname, device, attributes)
    digest = _file_digest(archive, member) if member.isreg() else ""
    return json.dumps([*entry, digest]).encode() + b"\n"


def _file_digest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = archive.extractfile(member)
    return hashlib.file_digest(content, "sha256").hexdigest() if content else ""  # type: ignore[arg-type]


class _Chunks:
    """Chunks as a file that can only be read forwards."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], size
        while missing > 0:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[:missing], self._rest[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)
