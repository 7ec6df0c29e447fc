"""How ssh(1) reaches the same host under the same trust, for programs that bring it along (rsync, git, scp)."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.host import Host


def options(host: Host) -> list[str]:
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
        through = ["ssh", *options(host.gateway), "-W", "[%h]:%p", host.gateway.machine.address]
        settings["ProxyCommand"] = " ".join(word if "%h" in word else shlex.quote(word) for word in through)
    return argv + [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _quoted(path: str) -> str:
    """Return a path as ssh_config(5) takes it: % begins a token there, and a space the next path."""
    return '"' + path.replace("%", "%%") + '"'
