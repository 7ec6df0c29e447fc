"""The few operations of patchwork that we need, under its names: patchwork itself does not import on Fabric 3.

All are idempotent. https://github.com/fabric/patchwork (its `append` breaks on quotes; this one does not).
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from argosy.errors import CommandFailed, Refused
from argosy.ssh.shell import Script

if TYPE_CHECKING:
    from argosy.ssh.host import Host

_APPEND = """\
set -eu
line=$(cat)
if [ -e "$1" ]; then
  ! grep -qxF -e "$line" -- "$1" || exit 0
  [ -z "$(tail -c 1 -- "$1")" ] || echo >>"$1"
fi
printf '%s\\n' "$line" >>"$1"
echo appended
"""


def exists(host: Host, path: str, *, sudo: bool = False) -> bool:
    """Return whether something is at `path`."""
    script = Script(f"look for {path}", 'if [ -e "$1" ]; then echo there; fi', path)
    return host.run(script, sudo=sudo).stdout == "there\n"


def directory(
    host: Host,
    path: str,
    *,
    mode: int | None = None,
    user: str = "",
    group: str = "",
    sudo: bool = False,
) -> None:
    """Make the folder and its parents unless it is there, and give it (not its parents) that mode and owner."""
    argv = ["install", "-d"]
    if mode is not None:
        argv += ["-m", f"{mode:o}"]
    if user:
        argv += ["-o", user]
    if group:
        argv += ["-g", group]
    host.run([*argv, "--", path], sudo=sudo)


def append(host: Host, path: str, line: str, *, sudo: bool = False) -> bool:
    """Add `line` to the end of the file, made when missing, unless it holds that line. Returns whether it changed."""
    script = Script(f"append to {path}", _APPEND, path if path.startswith("/") else f"./{path}")
    return host.run(script, sudo=sudo, input=line.encode()).stdout == "appended\n"


def rsync(
    host: Host,
    source: str,
    target: str,
    *,
    exclude: Sequence[str] = (),
    delete: bool = False,
    sudo: bool = False,
    options: Sequence[str] = (),
) -> None:
    """Make `target` on the machine like `source` here, sending only what differs. Needs rsync on both sides.

    As rsync has it, a source that ends in / means the folder's content. `delete`: also remove what the source lacks.
    """
    argv = ["rsync", "--recursive", "--links", "--perms", "--times", "--compress", *options]
    argv += [f"--exclude={pattern}" for pattern in exclude]
    argv += ["--delete"] if delete else []
    argv += ["--rsync-path=sudo -n rsync"] if host.elevates(sudo) else []
    argv += ["-e", shlex.join(["ssh", *ssh_options(host)]), "--", source, f"{host.address}:{target}"]
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Refused("rsync is not installed here: apt-get install rsync") from None
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[:1]
        raise CommandFailed(f"{host.name}: rsync to {target} ended with {ended.returncode}: {' '.join(last)}", ended)


def ssh_options(host: Host) -> list[str]:
    """Return ssh(1)'s options for a host: its port, its key, our pins, and nothing of the operator's own settings.

    BatchMode: it never asks; what it would ask is an error here.
    """
    argv = ["-F", "none", "-p", str(host.ssh.port), "-l", host.ssh.user]
    settings = {
        "BatchMode": "yes",
        "ConnectTimeout": f"{max(1, round(host.ssh.connect_timeout_seconds))}",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(str(host.known_hosts)),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
    }
    if host.key:
        argv += ["-i", str(host.key)]
        settings["IdentitiesOnly"] = "yes"
    if host.gateway:
        through = ["ssh", *ssh_options(host.gateway), "-W", "[%h]:%p", host.gateway.address]
        settings["ProxyCommand"] = " ".join(word if "%h" in word else shlex.quote(word) for word in through)
    return argv + [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _quoted(path: str) -> str:
    """Return a path as ssh_config(5) takes it: % begins a token there, and a space the next path."""
    return '"' + path.replace("%", "%%") + '"'
