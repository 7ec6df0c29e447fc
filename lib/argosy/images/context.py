"""The tar that the engine builds an image from: the same bytes for the same sources, whoever checked them out.

Entries are sorted, belong to root, carry one fixed time, and their mode keeps only what git keeps: whether a file may
be executed. `.dockerignore` works as in `docker build`, and `DOCKERFILE.dockerignore` beside a Dockerfile wins over it,
so that several images can share one context.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from argosy.errors import ConfigError
from argosy.images.ignore import BadPattern, Matcher, parse_ignore_file

TIME = 315532800  # 1980-01-01: zip archives, and so wheels, know nothing earlier
WHEELHOUSE = "wheelhouse"


@dataclass(frozen=True)
class BuildContext:
    """`folder`: the sources. `files`: path in the context -> bytes, or a file to take them from; each top folder of
    theirs replaces the sources' folder of that name. `where`: the config path for errors, such as images.frontend.
    `packages`: what names those of the wheelhouse, empty without one."""

    folder: Path
    where: str
    dockerfile: str = "Dockerfile"
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    packages: str = ""


def write_context(context: BuildContext) -> IO[bytes]:
    """Return the tar as an open temporary file, at its beginning. Nothing is written into the sources.

    Raises ConfigError when the folder or the Dockerfile isn't there, or a file can't be read.
    """
    if not context.folder.is_dir():
        raise ConfigError(f"no folder {context.folder}", f"{context.where}.context")
    if Path(context.dockerfile).is_absolute() or ".." in Path(context.dockerfile).parts:
        raise ConfigError(
            f"{context.dockerfile} must be below the context {context.folder}", f"{context.where}.dockerfile"
        )
    if not (context.folder / context.dockerfile).is_file():
        raise ConfigError(f"no file {context.folder / context.dockerfile}", f"{context.where}.dockerfile")
    stream = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add_sources(archive, context)
            for name, content in sorted(context.files.items()):
                _add_file(archive, name, content)
    except OSError as error:
        stream.close()
        raise ConfigError(f"{error.filename or context.folder}: {error.strerror}", f"{context.where}.context") from None
    except ConfigError:
        stream.close()
        raise
    stream.seek(0)
    return stream


def context_digest(stream: IO[bytes]) -> str:
    """Return the digest of a build context, a tar at its beginning, and leave it there. The packages of a wheelhouse
    are left out: what they are made of is in the inputs, and two hosts need not make the same bytes of it."""
    found = hashlib.sha256()
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            if member.name.startswith(f"{WHEELHOUSE}/"):
                continue
            kind = member.type.decode("latin-1")
            content = archive.extractfile(member) if member.isreg() else None
            digest = hashlib.file_digest(content, "sha256").hexdigest() if content else ""  # type: ignore[arg-type]
            found.update(json.dumps([member.name, kind, member.mode, member.linkname, digest]).encode() + b"\n")
    stream.seek(0)
    return found.hexdigest()


def included_paths(folder: Path, dockerfile: str = "Dockerfile") -> list[str]:
    """Return the paths of `folder` that its ignore file lets through, sorted. Raises ConfigError for a pattern that
    Docker refuses, with file and line."""
    matcher = Matcher(())
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        if (folder / name).is_file():
            try:
                matcher = parse_ignore_file((folder / name).read_bytes()).keeping([".dockerignore", dockerfile])
            except BadPattern as error:
                raise ConfigError(f"{folder / name}:{error}") from None
            break
    return sorted(_sent(folder, "", matcher, ()))


def _sent(folder: Path, above: str, matcher: Matcher, fits: Sequence[bool]) -> Iterator[str]:
    with os.scandir(folder / above) as entries:
        for entry in entries:
            path = f"{above}{entry.name}"
            left_out, own_fits = matcher.leaves_out(path, fits)
            if not left_out:
                yield path
            if entry.is_dir(follow_symlinks=False) and (not left_out or matcher.enters(path)):
                yield from _sent(folder, f"{path}/", matcher, own_fits)


def _add_sources(archive: tarfile.TarFile, context: BuildContext) -> None:
    replaced = {name.partition("/")[0] for name in context.files}
    for path in included_paths(context.folder, context.dockerfile):
        if path.partition("/")[0] in replaced:
            continue
        source = context.folder / path
        info = archive.gettarinfo(source, arcname=path)
        if info is None or not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
            continue  # sockets and pipes have no content
        if info.islnk():  # the same file under two names: git knows only two files
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", source.stat().st_size
        _normalise(info)
        if info.isreg():
            with source.open("rb") as content:
                archive.addfile(info, content)
        else:
            archive.addfile(info)


def _add_file(archive: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    if isinstance(content, Path):
        info.size = content.stat().st_size
        with content.open("rb") as stream:
            archive.addfile(_normalise(info), stream)
    else:
        info.size = len(content)
        archive.addfile(_normalise(info), io.BytesIO(content))


def _normalise(info: tarfile.TarInfo) -> tarfile.TarInfo:
    executable = info.isdir() or info.issym() or info.mode & 0o100
    info.mode = 0o755 if executable else 0o644
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = TIME
    info.pax_headers = {}
    return info
