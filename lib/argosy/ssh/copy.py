"""Copy files to and from a machine, over the command channel and so through sudo where need be.

SFTP would log in as a user that may not write where the files belong, and would need a second protocol to be allowed.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from argosy.errors import CommandFailed, ConfigError
from argosy.ssh import commands
from argosy.ssh.shell import PACK_ANY, PACK_FILE, UNPACK_FOLDER, WRITE_FILE, Script

if TYPE_CHECKING:
    from argosy.ssh.channel import Feed, Sink
    from argosy.ssh.link import Link

CHUNK_BYTES = 1 << 16


def put_bytes(host: Link, data: bytes, remote: str, *, mode: int = 0o644, sudo: bool = False) -> None:
    """Write a file atomically and durably: a reader sees the old file or the new one, even after a power cut.

    It is made 0600 before anything is in it. The folder has to exist. A link is replaced, not followed.
    """
    _write(host, data, len(data), remote, mode=mode, sudo=sudo, name="")


def put(
    host: Link,
    local: str | Path,
    remote: str,
    *,
    mode: int | None = None,
    sudo: bool = False,
    recursive: bool = False,
    timeout_seconds: float | None = None,
) -> None:
    """Copy a file, atomically as `put_bytes` does, or with `recursive` a folder, to the machine.

    A file goes into `remote` when that is a folder. A folder's content goes into the folder `remote`, which is
    made when missing; what else is there stays. `mode`: of a file; its local one when not given.
    """
    local = Path(local)
    if local.is_dir():
        if not recursive:
            raise ConfigError(f"{local} is a folder, and recursive was not asked for", "local")
        argv = Script(f"put {remote}", UNPACK_FOLDER, _path(remote))
        commands.run(host, argv, sudo=sudo, input=partial(_pack, local), timeout_seconds=timeout_seconds)
        return
    try:
        source = local.open("rb")
    except OSError as error:
        raise ConfigError(f"can't read {local}: {error.strerror}", "local") from None
    with source:
        status = os.fstat(source.fileno())
        if mode is None:
            mode = stat.S_IMODE(status.st_mode)
        feed = partial(_send, source, status.st_size)
        _write(
            host, feed, status.st_size, remote, mode=mode, sudo=sudo, name=local.name, timeout_seconds=timeout_seconds
        )


def get(
    host: Link,
    remote: str,
    local: str | Path,
    *,
    sudo: bool = False,
    recursive: bool = False,
    timeout_seconds: float | None = None,
) -> list[str]:
    """Copy a file from the machine to `local`, with its mode; into it, when that is a folder.

    With `recursive`, `local` is a folder, made when missing, that gets the file or the folder's content. Returns
    what was left out of a folder: devices, sockets, and links that lead out of it.
    """
    local = Path(local)
    argv = Script(f"get {remote}", PACK_ANY if recursive else PACK_FILE, _path(remote))
    with commands.reading(host, argv, sudo=sudo, timeout_seconds=timeout_seconds) as stream:
        try:
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
                if recursive:
                    return _unpack(archive, local)
                _unpack_file(archive, local / PurePosixPath(remote).name if local.is_dir() else local)
        except tarfile.ReadError:
            # Nothing came, or not all: the command's own error says why, and is raised when the context ends.
            stream.drain()
            raise CommandFailed(f"{host.name}: what came of {remote} is not complete") from None
        except OSError as error:
            where = error.filename or local
            raise CommandFailed(f"{host.name}: can't write {where} here: {error.strerror}") from None
    return []


def _write(
    host: Link,
    feed: Feed,
    size: int,
    remote: str,
    *,
    mode: int,
    sudo: bool,
    name: str,
    timeout_seconds: float | None = None,
) -> None:
    argv = Script(f"put {remote}", WRITE_FILE, _path(remote), f"{mode:o}", str(size), name)
    commands.run(host, argv, sudo=sudo, input=feed, timeout_seconds=timeout_seconds)


def _path(remote: str) -> str:
    """Return the path so that no program takes it for an option, and it has a folder part."""
    return remote if remote.startswith("/") else f"./{remote}"


def _send(source: IO[bytes], size: int, sink: Sink) -> None:
    left = size
    while left and (data := source.read(min(left, CHUNK_BYTES))):
        sink.write(data)
        left -= len(data)


def _pack(folder: Path, sink: Sink) -> None:
    with tarfile.open(fileobj=cast(IO[bytes], sink), mode="w|") as archive:
        archive.add(folder, arcname=".")


def _unpack_file(archive: tarfile.TarFile, target: Path) -> None:
    member = archive.next()
    if member is None or not member.isfile():
        raise tarfile.ReadError
    _write_member(archive, member, target)


def _unpack(archive: tarfile.TarFile, folder: Path) -> list[str]:
    """Unpack what a machine sent, and nothing outside of `folder`, whatever the names say. Returns what was left out.

    Not `TarFile.extractall(filter="data")`: Python 3.11.2 (Debian 12) has no filters; an absolute link would end it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    left_out: list[str] = []
    links: list[tarfile.TarInfo] = []
    for member in archive:
        target = root / member.name
        if member.isdir() and target == root:
            continue
        if not _is_inside(root, target):
            left_out.append(member.name)
        elif member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif member.isfile():
            _write_member(archive, member, target)
        elif member.issym():
            # Made at the end, so that no file of the archive is written through a link of the archive.
            links.append(member)
        else:
            left_out.append(member.name)
    return left_out + [link.name for link in links if not _link(root, root / link.name, link.linkname)]


def _is_inside(root: Path, path: Path) -> bool:
    """Return whether `path` is below `root` when every link on the way to it is followed, and has no `..`."""
    return ".." not in path.parts and path.parent.resolve().is_relative_to(root)


def _link(root: Path, target: Path, pointed: str) -> bool:
    """Make a link unless it would lead out of `root`, or takes the place of a folder. Returns whether it did."""
    if not _is_inside(root, target) or not (target.parent / pointed).resolve().is_relative_to(root):
        return False
    if target.is_dir() and not target.is_symlink():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(pointed)
    return True


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise tarfile.ReadError
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made 0600 under another name: a secret is never readable by others, and no reader sees half a file.
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file, source:
            shutil.copyfileobj(source, file, CHUNK_BYTES)
            os.fchmod(file.fileno(), stat.S_IMODE(member.mode) & 0o777)
        Path(part).replace(target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
