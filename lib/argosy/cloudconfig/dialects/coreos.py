"""coreos-cloudinit's cloud-config, for Flatcar.

It knows few keys, and its validator warns of every other one, so nothing of cloud-init's dialect is in it.
Source: https://github.com/flatcar/coreos-cloudinit/blob/main/Documentation/cloud-config.md
"""

from __future__ import annotations

from argosy.cloudconfig.dialects.machine import MachineConfig
from argosy.errors import ConfigError
from argosy.model import File
from argosy.rendering.rendering import render as render_template

OS_USER = "core"


def render(config: MachineConfig) -> str:
    """Return the user-data of `config`. Raises ConfigError for a file where the OS has none written."""
    files = [*config.files, *sudoers(config)]
    for file in files:
        if file.path.startswith("/usr/"):
            raise ConfigError("a file can't be written under /usr, which is read-only", file.path)
    return render_template("cloud-config/coreos.yaml.j2", config=config, files=files, os_user=OS_USER)


def sudoers(config: MachineConfig) -> list[File]:
    """Return the files that let the users become root; OS_USER and root need none."""
    return [
        File(f"/etc/sudoers.d/90-{user.name}", f"{user.name} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        for user in config.users
        if user.name not in (OS_USER, "root")
    ]
