"""Whose ssh keys a machine lets in, beside those that its cloud-config brought: read, add, remove one.

The file is `~/.ssh/authorized_keys` of the user that operators log in as. Flatcar makes it anew from the files in
`~/.ssh/authorized_keys.d`: where that folder is, a key is put there, too, and taken out of each of them.
"""

from __future__ import annotations

from argosy.ssh.host import Host
from argosy.ssh.shell import Script

HOLDS = """\
set -eu
umask 077
# Whether the file $1 has the key $2. One that can't be read is an error, not one without it.
holds() {
  [ -f "$1" ] || return 1
  code=0
  grep -qF -e "$2" -- "$1" || code=$?
  [ $code -le 1 ] || exit $code
  return $code
}
"""

HAS = f"""\
{HOLDS}
if holds "$HOME/.ssh/authorized_keys" "$1"; then echo there; fi
"""
"""$1: the key in base64."""

LET_IN = f"""\
{HOLDS}
mkdir -p -- "$HOME/.ssh"
add() {{
  ! holds "$1" "$blob" || return 0
  part=$(mktemp "$1.XXXXXXXX")
  if [ -e "$1" ]; then
    cat -- "$1" >"$part"
    [ -z "$(tail -c 1 -- "$part")" ] || echo >>"$part"
  fi
  printf '%s\\n' "$line" >>"$part"
  sync "$part"
  mv -fT -- "$part" "$1"
}}
line=$1 blob=$2
[ ! -d "$HOME/.ssh/authorized_keys.d" ] || add "$HOME/.ssh/authorized_keys.d/argosy"
add "$HOME/.ssh/authorized_keys"
"""
"""$1: the line; $2: the key in it, in base64."""

SHUT_OUT = f"""\
{HOLDS}
for file in "$HOME/.ssh/authorized_keys.d"/* "$HOME/.ssh/authorized_keys"; do
  holds "$file" "$1" || continue
  part=$(mktemp "$file.XXXXXXXX")
  grep -vF -e "$1" -- "$file" >"$part" || [ $? -eq 1 ]
  sync "$part"
  mv -fT -- "$part" "$file"
done
"""
"""$1: the key in base64."""


def has(host: Host, line: str) -> bool:
    """Return whether the machine lets in the key of this public line (`TYPE BASE64 COMMENT`)."""
    return host.run(Script("look for an ssh key", HAS, _blob(line))).stdout == "there\n"


def let_in(host: Host, line: str) -> None:
    """Let the key in. Idempotent: who reads the file meanwhile sees the old one or the new one."""
    host.run(Script("let an ssh key in", LET_IN, line, _blob(line)))


def shut_out(host: Host, line: str) -> None:
    """Let the key in no more; connections that are open stay. Idempotent."""
    host.run(Script("shut an ssh key out", SHUT_OUT, _blob(line)))


def _blob(line: str) -> str:
    return line.split()[1]
