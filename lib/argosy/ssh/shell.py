"""Pure. The shell lines that are sent to a machine: argv in, one quoted line out.

sshd gives a command to the login shell as one string, so every word is quoted here and nowhere else.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

Command = str | Sequence[str]
"""An argv, or one line of shell as a person would type it."""

PID_LINE = re.compile(rb"^argosy-pid (\d+)\n", re.MULTILINE)
"""What `traced` makes the machine print first on stderr."""

WRITE_FILE = """\
set -eu
target=$1 mode=$2 size=$3 name=$4
if [ -d "$target" ]; then
  [ -n "$name" ] || { echo "$target is a directory" >&2; exit 1; }
  target=${target%/}/$name
fi
umask 077
part=$(mktemp "${target%/*}/.${target##*/}.XXXXXXXX")
trap 'rm -f -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >"$part"
[ "$(wc -c <"$part")" -eq "$size" ] || { echo "the upload of $target broke off" >&2; exit 1; }
chmod "$mode" "$part"
sync "$part"
mv -fT -- "$part" "$target"
sync "${target%/*}/"
"""
"""Writes stdin to $1 with mode $2. A reader sees the old file or the whole new one: connection loss looks like the end
of the input to `cat`, so the size ($3) is checked before the rename. $4: the name inside $1 if that is a directory."""

UNPACK_FOLDER = 'set -eu; mkdir -p -- "$1"; exec tar -x -p --no-same-owner -f - -C "$1"'

_NEED = '[ -e "$1" ] || { echo "no such file or folder: $1" >&2; exit 2; }'
PACK_FILE = f"""\
{_NEED}
[ ! -d "$1" ] || {{ echo "$1 is a folder, and recursive was not asked for" >&2; exit 2; }}
exec tar -c -h -f - -C "$(dirname -- "$1")" -- "$(basename -- "$1")"
"""
PACK_ANY = f"""\
[ ! -d "$1" ] || exec tar -c --hard-dereference -f - -C "$1" .
{PACK_FILE}"""

END_GROUP = """\
kill -s TERM -- -"$1" 2>/dev/null || exit 0
tries=0
while [ $tries -lt 30 ]; do
  kill -s 0 -- -"$1" 2>/dev/null || exit 0
  sleep 0.1
  tries=$((tries + 1))
done
kill -s KILL -- -"$1"
"""
"""Ends the process group $1: politely, and after three seconds for good."""


def line(command: Command, *, sudo: bool = False) -> str:
    """Return the command as one line of shell. `sudo`: through `sudo -n`, which never asks for a password."""
    if not sudo:
        return command if isinstance(command, str) else shlex.join(command)
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return shlex.join(["sudo", "-n", "--", *argv])


def traced(command: Command, *, sudo: bool = False, limit_seconds: float = 0) -> str:
    """Return the command's line so that it first says on stderr which process group it is.

    sshd makes the login shell the leader of a session of its own, so $$ is the group of all that the command starts
    and what `ending` takes. `limit_seconds`: the machine itself ends the command after that time, so that a
    follower's command does not outlive an operator who was cut off.
    """
    report = "echo argosy-pid $$ >&2; "
    if limit_seconds:
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        # --foreground: else it would move the command to a group of its own, out of reach of `ending`.
        command = ["timeout", "--foreground", "-k", "5", f"{limit_seconds:.0f}", *argv]
    if isinstance(command, str) and not sudo:
        return report + command
    return f"{report}exec {line(command, sudo=sudo)}"


class Script(list[str]):
    """The argv that runs `text` under sh with $1, $2, ... `title`: what messages call it."""

    def __init__(self, title: str, text: str, *arguments: str) -> None:
        super().__init__(["sh", "-c", text, "argosy", *arguments])
        self.title = title


def ending(group: int, *, sudo: bool = False) -> str:
    """Return the line that ends all processes of a group which `traced` told."""
    return line(Script("kill", END_GROUP, str(group)), sudo=sudo)


def shortened(command: Command, width: int = 100) -> str:
    """Return the command for a message: one line, not longer than `width`."""
    if isinstance(command, Script):
        return command.title
    text = " ".join((command if isinstance(command, str) else shlex.join(command)).split())
    return text if len(text) <= width else text[: width - 3] + "..."
