"""What a machine is made of before anything of the system is installed on it, and its cloud-config file. Pure.

`machine_config` decides (lifecycle step 2), `render` writes it down in the dialect of the machine's OS:

    cloud-init   Debian, Ubuntu               dialects/cloud_init.py
    coreos       Flatcar (coreos-cloudinit)   dialects/coreos.py
    ignition     Fedora CoreOS, Flatcar       dialects/ignition.py

No secret is in it: certificates, the registry's password and the user's secrets come later (lifecycle step 4), and the
path unit SYSTEM-secrets.path waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy import machine_files, machine_units
from argosy.config import Settings
from argosy.dialects import DIALECTS, MachineConfig, User
from argosy.errors import ConfigError
from argosy.model import Image, Machine

DIALECT_OF_OS = {"debian": "cloud-init", "ubuntu": "cloud-init", "flatcar": "coreos", "fedora-coreos": "ignition"}


def dialect_for(os: str, wanted: str = "") -> str:
    """Return the dialect `wanted`, or the one that `os` reads. Raises ConfigError for a dialect that we don't write."""
    dialect = wanted or DIALECT_OF_OS[os]
    if dialect not in DIALECTS:
        raise ConfigError(f"no dialect {dialect!r}; known: {', '.join(DIALECTS)}", "format")
    return dialect


def machine_config(
    settings: Settings,
    machine: Machine,
    cluster_machines: Sequence[Machine],
    *,
    release: Image,
    etcd: Image,
    registry_ca: str,
    authorized_keys: Sequence[str],
    initial_state: str = "new",
    members: Sequence[Machine] | None = None,
) -> MachineConfig:
    """Return what `machine` is made of.

    `cluster_machines`: all of them, the machine among them; the first `etcd.max_members` run etcd, the others are its
    clients. `members`: who runs etcd instead, in a cluster that has been so for a while. `release`, `etcd`: the images
    to install, by digest. `registry_ca`: PEM of the CA that the registry's certificate is checked against; empty for
    one that the OS trusts. `initial_state`: `new`, or `existing` for a machine that joins. Raises ConfigError when the
    registry has no address.
    """
    if not settings.registry.address:
        raise ConfigError("the machines need the registry's address; give it as HOST:PORT", "registry.address")
    if members is None:
        members = list(cluster_machines)[: settings.etcd.max_members]
    names = machine_files.Names(settings.system, machine.os)
    member = machine.name in {other.name for other in members}
    return MachineConfig(
        os=machine.os,
        hostname=machine.name,
        users=(User(settings.ssh.user, tuple(dict.fromkeys(authorized_keys))),),
        files=machine_files.files(
            settings,
            names,
            machine,
            members,
            release=release,
            etcd=etcd,
            registry_ca=registry_ca,
            initial_state=initial_state,
        ),
        units=machine_units.units(settings, names, member=member),
        own_hosts_file=not settings.machine.container,
    )


def render(config: MachineConfig, dialect: str = "") -> str:
    """Return the machine's cloud-config file in `dialect` (its OS's own when empty). Same config, same text.

    Raises ConfigError when nobody could log in on the machine, or the dialect can't say what its OS needs.
    """
    if not all(user.authorized_keys for user in config.users):
        raise ConfigError("nobody could log in: give at least one public key", "machine.authorized_keys")
    return DIALECTS[dialect_for(config.os, dialect)].render(config)


def suffix(dialect: str) -> str:
    """Return the ending of a cloud-config file's name: `.yaml` or `.ign`."""
    return DIALECTS[dialect].suffix
