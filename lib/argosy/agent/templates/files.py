"""The file of a resource: compared, staged beside its place, and put there in one step.

Everything below the shared folder is opened from there on, step by step and past no symbolic link: services have the
folder mounted, and none of them may lead us elsewhere.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FOLDER_MODE = 0o755
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the file must be; `mode` as in chmod."""

    content: bytes
    uid: int
    gid: int
    mode: int


@contextmanager
def opened_folder(folder: PurePosixPath, path: PurePosixPath) -> Iterator[int]:
    """Give the descriptor of the folder that FOLDER/PATH is in; what is missing is made. Raises OSError."""
    Path(folder).mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.parts[:-1]:
            inner = _enter(descriptor, name)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def is_as_wanted(folder: int, name: str, wanted: Wanted) -> bool:
    """Return whether the file has this content, owner and mode. Raises OSError if `name` is no file, nor a link."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(found.st_mode):
        return False
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EEXIST, "something that is no file is in its place: move it away", name)
    owned = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (wanted.uid, wanted.gid, wanted.mode)
    return owned and found.st_size == len(wanted.content) and _read(folder, name) == wanted.content


def stage(folder: int, name: str, wanted: Wanted) -> str:
    """Write the file aside, complete and on the disk; return its name in the folder. A leftover is replaced.

    Until its owner is right nobody else can read it.
    """
    staged = f".{name}.argosy-new"
    discard(folder, staged)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(staged, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(wanted.content)
            stream.flush()
            os.fchown(stream.fileno(), wanted.uid, wanted.gid)
            os.fchmod(stream.fileno(), wanted.mode)
            os.fsync(stream.fileno())
    except BaseException:
        discard(folder, staged)
        raise
    return staged


def put(folder: int, staged: str, name: str) -> None:
    """Make the staged file the file. A link that is there is replaced, not followed."""
    os.rename(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def discard(folder: int, staged: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(staged, dir_fd=folder)


def user_id(owner: str | int) -> int:
    """Return the number of a user, empty: our own. Raises ValueError for a name that this container does not know."""
    return _id(owner, os.geteuid, lambda name: pwd.getpwnam(name).pw_uid, "user")


def group_id(group: str | int) -> int:
    """Return the number of a group, empty: our own. Raises ValueError for a name that this container does not know."""
    return _id(group, os.getegid, lambda name: grp.getgrnam(name).gr_gid, "group")


def _id(who: str | int, own: Callable[[], int], look_up: Callable[[str], int], what: str) -> int:
    if isinstance(who, int):
        return who
    if not who:
        return own()
    try:
        return look_up(who)
    except KeyError:
        raise ValueError(f"the agent's container knows no {what} {who!r}: give its number") from None


def _enter(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        os.mkdir(name, FOLDER_MODE, dir_fd=folder)
        made = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        os.fchmod(made, FOLDER_MODE)  # whatever the umask
        return made


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()
