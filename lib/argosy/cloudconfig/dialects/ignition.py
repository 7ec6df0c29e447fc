"""Ignition 3.3 JSON, for Fedora CoreOS and Flatcar.

Source: https://coreos.github.io/ignition/configuration-v3_3/
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from argosy.cloudconfig.dialects.coreos import sudoers
from argosy.cloudconfig.dialects.machine import MachineConfig, User
from argosy.model import File, Unit
from argosy.rendering.quoting import json_text

VERSION = "3.3.0"


def render(config: MachineConfig) -> str:
    """Return the Ignition document of `config`. `ignition-validate` accepts it without a warning."""
    return json_text(document(config), indent=2) + "\n"


def document(config: MachineConfig) -> dict[str, Any]:
    """Return the document as values. Ignition acts before the first boot, so what is enabled is started, too."""
    hostname = File("/etc/hostname", f"{config.hostname}\n")
    return {
        "ignition": {"version": VERSION},
        "passwd": {"users": [_user(user) for user in config.users]},
        "storage": {"files": [_file(file) for file in (hostname, *config.files, *sudoers(config))]},
        "systemd": {"units": [_unit(unit) for unit in config.units]},
    }


def _user(user: User) -> dict[str, Any]:
    return {"name": user.name, "sshAuthorizedKeys": list(user.authorized_keys)}


def _file(file: File) -> dict[str, Any]:
    """Return a file whose content is in a data URL (RFC 2397); it replaces one that the OS brings."""
    return {
        "path": file.path,
        "mode": file.mode,
        "overwrite": True,
        "contents": {"source": f"data:,{quote(file.content)}"},
    }


def _unit(unit: Unit) -> dict[str, Any]:
    return {"name": unit.name, "contents": unit.content, **({"enabled": True} if unit.enabled else {})}
