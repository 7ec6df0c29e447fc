"""cloud-init's cloud-config, for Debian, Ubuntu and whatever else reads it.

The modules used: users-groups, write_files, set_hostname, update_etc_hosts, set_passwords, runcmd.
Source: https://cloudinit.readthedocs.io/en/22.4.2/topics/modules.html
"""

from __future__ import annotations

from argosy.cloudconfig.dialects.machine import MachineConfig
from argosy.rendering.rendering import render as render_template


def render(config: MachineConfig) -> str:
    """Return the user-data of `config`. `cloud-init schema --config-file` accepts it without a warning."""
    return render_template("cloud-config/cloud-init.yaml.j2", config=config, commands=commands(config))


def commands(config: MachineConfig) -> list[list[str]]:
    """Return the argvs that end the first boot: units that systemd did not know when it started are told to it.

    They run late (cloud-final.service, after multi-user.target); nothing in them waits for a secret or for the network.
    """
    enabled = [unit.name for unit in config.units if unit.enabled]
    started = [unit.name for unit in config.units if unit.started]
    return [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", *enabled],
        # Without waiting: a boot never hangs on what a unit waits for.
        ["systemctl", "start", "--no-block", *started],
    ]
