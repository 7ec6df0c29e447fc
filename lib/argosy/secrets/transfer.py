"""Pure. How a machine's secrets folder becomes what it must be: what is there and what is wanted in, changes out.

On the machine: `/etc/SYSTEM/secrets/` 0700 root, its files 0600 root, and the empty marker `.complete`, which is there
only while the folder holds exactly one whole set. OBSERVE prints what is there; APPLY takes the new files as a tar on
stdin, so no content is ever in an argv. Both run as root.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from argosy.secrets.value import Secret

MARKER = ".complete"
STAGE = ".stage"

OBSERVE = """\
set -eu
[ -d "$1" ] || exit 0
cd -- "$1"
find . -printf 'entry %y %m %U:%G %P\\0'
find . -type f -exec sha256sum -z -- {} +
"""
"""$1: the folder. Prints NUL-ended records: `entry TYPE MODE UID:GID NAME` for all, `SHA256  ./NAME` for files."""

APPLY = """\
set -eu
umask 077
folder=$1
shift
(umask 022 && mkdir -p -- "${folder%/*}")
mkdir -p -- "$folder"
chown 0:0 -- "$folder"
chmod 700 -- "$folder"
exec 9<"$folder"
flock -w 30 9 || { echo "another upload to this machine is under way" >&2; exit 1; }
cd -- "$folder"
rm -rf .stage
mkdir .stage
trap 'rm -rf .stage' EXIT
trap 'exit 1' HUP INT TERM PIPE
tar -x --no-same-owner --no-same-permissions -f - -C .stage
[ -f .stage/.all ] || { echo "the upload broke off" >&2; exit 1; }
if [ -s .stage/.new ]; then (cd .stage && sha256sum --quiet --strict -c .new); fi
chown -R 0:0 .stage
find .stage -type f -exec chmod 600 {} +
sync -f .stage
rm -f .complete
sync -f .
for name in "$@"; do rm -rf -- "./$name"; done
find . -mindepth 1 -type d -exec chown 0:0 {} + -exec chmod 700 {} +
while read -r sum name; do
  case $name in */*) mkdir -p -- "${name%/*}" ;; esac
  mv -fT -- ".stage/$name" "$name"
done <.stage/.new
sha256sum --quiet --strict -c .stage/.all
: >.stage/.complete
sync -f .
mv -fT .stage/.complete .complete
rm -rf .stage
sync -f .
"""
"""$1: the folder; $2...: what to remove from it. stdin: a tar of the files to write and two lists of SHA256 and name:
`.new` for the files to write, `.all` for those that must be there in the end.

A killed run leaves no marker unless everything is in place, and the next one does the rest. The stage is inside the
folder, so that every `mv` is a rename on one file system even where the folder is a mount of its own. The lists come
last in the tar: when they are there and agree, all of it arrived. The lock dies with its holder.
"""


class Action(StrEnum):
    """What happens to a file of the folder."""

    WRITE = "write"
    REPLACE = "replace"
    REPAIR = "set owner and mode of"
    REMOVE = "remove"
    MARK = "mark as complete"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `name`: the file's, relative to the folder; empty means the folder itself."""

    action: Action
    name: str = ""

    def __str__(self) -> str:
        return f"{self.action} {self.name or 'the folder of secrets'}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands on the machine under one name. `kind`: find's letter; `owner`: UID:GID."""

    kind: str
    mode: str
    owner: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """A machine's secrets folder. `folder`: itself, or None when it is not there."""

    folder: Entry | None = None
    entries: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return MARKER in self.entries

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file by name, without the marker and what a killed upload has left aside."""
        return {
            name: entry.sha256
            for name, entry in self.entries.items()
            if entry.kind == "f" and name != MARKER and not name.startswith(f"{STAGE}/")
        }


def parse_observed(output: str) -> Observed:
    """Read what OBSERVE printed."""
    entries: dict[str, Entry] = {}
    for record in filter(None, output.split("\0")):
        if record.startswith("entry "):
            _, kind, mode, owner, name = record.split(" ", 4)
            entries[name] = Entry(kind, mode, owner)
        else:
            sha256, name = record[:64], record[66:].removeprefix("./")
            there = entries[name]
            entries[name] = Entry(there.kind, there.mode, there.owner, sha256)
    return Observed(entries.pop("", None), entries)


def plan_changes(wanted: Mapping[str, str | None], observed: Observed) -> list[Change]:
    """Return what must change, none when all is as wanted.

    `wanted`: the SHA-256 of each file by name, None for one whose content is not made yet (which is written anyway).
    """
    folders = sorted({name.rpartition("/")[0] for name in wanted} - {""})
    changes = [Change(Action.REMOVE, name) for name in _surplus(wanted, folders, observed)]
    changes += [Change(Action.REPAIR, name) for name in ("", *folders) if _is_open(name, observed)]
    for name in sorted(wanted):
        changes += _file_changes(name, wanted[name], observed)
    if not changes and not observed.complete:
        changes.append(Change(Action.MARK))
    return changes


def pack(changes: Sequence[Change], files: Mapping[str, Secret]) -> tuple[list[str], bytes]:
    """Return what APPLY takes beside the folder: the names to remove, and the tar."""
    # APPLY clears an earlier run's stage itself, before it makes its own.
    removed = [change.name for change in changes if change.action is Action.REMOVE and change.name != STAGE]
    written = sorted({change.name for change in changes if change.name in files and change.action is not Action.REMOVE})
    lists = {".new": _checksums({name: files[name] for name in written}), ".all": _checksums(files)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in written} - {""}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(entry)
        for name, content in [*((name, files[name].reveal()) for name in written), *lists.items()]:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return removed, buffer.getvalue()


def summary(changes: Sequence[Change]) -> str:
    """Return the changes in a few words: `3 files written, 1 removed`."""
    if not changes:
        return "unchanged"
    removed = sum(change.action is Action.REMOVE for change in changes)
    written = sum(change.action in (Action.WRITE, Action.REPLACE) for change in changes)
    repaired = len(changes) - removed - written
    counts = ((written, "written"), (removed, "removed"), (repaired, "set right"))
    return ", ".join(f"{count} {done}" for count, done in counts if count)


def _checksums(files: Mapping[str, Secret]) -> bytes:
    return "".join(f"{files[name].sha256}  {name}\n" for name in sorted(files)).encode()


def _surplus(wanted: Mapping[str, object], folders: Sequence[str], observed: Observed) -> list[str]:
    """Return what must go: unwanted names, and whatever stands in the place of a file or a folder without being one."""
    kinds = {**dict.fromkeys(wanted, "f"), **dict.fromkeys(folders, "d"), MARKER: "f"}
    surplus = [name for name, there in sorted(observed.entries.items()) if kinds.get(name) != there.kind]
    return [name for name in surplus if not any(name.startswith(f"{folder}/") for folder in surplus)]


def _file_changes(name: str, sha256: str | None, observed: Observed) -> list[Change]:
    there = observed.entries.get(name)
    if there is None or there.kind != "f":
        return [Change(Action.WRITE, name)]
    if there.sha256 != sha256:
        return [Change(Action.REPLACE, name)]
    return [Change(Action.REPAIR, name)] if (there.mode, there.owner) != ("600", "0:0") else []


def _is_open(folder: str, observed: Observed) -> bool:
    """Return whether a folder that is there is not root's alone."""
    there = observed.entries.get(folder) if folder else observed.folder
    return there is not None and there.kind == "d" and (there.mode, there.owner) != ("700", "0:0")
