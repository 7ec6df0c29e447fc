"""coreos-cloudinit's cloud-config, for Flatcar.

It knows few keys, and its validator warns of every other one, so nothing of cloud-init's dialect is in it.
Source: https://github.com/flatcar/coreos-cloudinit/blob/main/Documentation/cloud-config.md
"""

from __future__ import annotations

from argosy.dialects.coreos_schema import check
from argosy.dialects.machine import File, MachineConfig
from argosy.rendering import render as render_template

OS_USER = "core"


def render(config: MachineConfig) -> str:
    """Return the user-data of `config`, checked by the rules of coreos-cloudinit's own validator."""
    files = [*config.files, *sudoers(config)]
    text = render_template("cloud-config/coreos.yaml.j2", config=config, files=files, os_user=OS_USER)
    check(text)
    return text


def sudoers(config: MachineConfig) -> list[File]:
    """Return the files that let the users become root; OS_USER and root need none."""
    return [
        File(f"/etc/sudoers.d/90-{user.name}", f"{user.name} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        for user in config.users
        if user.name not in (OS_USER, "root")
    ]
