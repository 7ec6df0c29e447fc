"""Pure. What a machine is made of before anything of the system is installed on it, and its cloud-config file.

`machine_config` decides (lifecycle step 2), `render` writes it down in the dialect of the machine's OS:

    cloud-init   Debian, Ubuntu               dialects/cloud_init.py
    coreos       Flatcar (coreos-cloudinit)   dialects/coreos.py
    ignition     Fedora CoreOS, Flatcar       dialects/ignition.py

No secret is in it: certificates, the registry's password and the user's secrets come later (lifecycle step 4), and the
path unit SYSTEM-secrets.path waits for them.
"""

from __future__ import annotations

from argosy.cloudconfig import files as machine_files
from argosy.cloudconfig import units
from argosy.cloudconfig.dialects import DIALECTS
from argosy.cloudconfig.dialects.machine import MachineConfig, User
from argosy.cloudconfig.files import Common
from argosy.cloudconfig.shared import SHARED
from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.model import Image, Machine
from argosy.paths import Names
from argosy.providers import provider_of

DIALECT_OF_OS = {"debian": "cloud-init", "ubuntu": "cloud-init", "flatcar": "coreos", "fedora-coreos": "ignition"}


def dialect_for(os: str, wanted: str = "") -> str:
    """Return the dialect `wanted`, or the one that `os` reads. Raises ConfigError for a dialect that we don't write."""
    dialect = wanted or DIALECT_OF_OS[os]
    if dialect not in DIALECTS:
        raise ConfigError(f"no dialect {dialect!r}; known: {', '.join(DIALECTS)}", "format")
    return dialect


def machine_config(settings: Settings, machine: Machine, common: Common) -> MachineConfig:
    """Return what `machine`, one of `common.machines`, is made of.

    Raises ConfigError when the registry has no address.
    """
    if not settings.registry.address:
        raise ConfigError("the machines need the registry's address; give it as HOST:PORT", "registry.address")
    members = common.machines[: settings.etcd.max_members] if common.members is None else common.members
    names = Names(settings.system, machine.os)
    member = machine.name in {other.name for other in members}
    provider = provider_of(settings)
    files = machine_files.files(settings, names, machine, members, common)
    return MachineConfig(
        os=machine.os,
        hostname=machine.name,
        users=(User(settings.ssh_of(machine).user, tuple(dict.fromkeys(common.authorized_keys))),),
        files=tuple(sorted((*files, *provider.extra_files(settings, machine)), key=lambda file: file.path)),
        units=(*units.units(settings, names, member=member), *provider.extra_units(settings, machine)),
        own_hosts_file=not settings.machine.container,
    )


def owned_paths(settings: Settings, machine: Machine) -> tuple[list[str], list[str]]:
    """Return the files that are ours alone on the machine, and the names of the units, whatever it was made with.

    Raises ConfigError as `machine_config` does.
    """
    names, image = Names(settings.system, machine.os), Image("", "", "", "")
    config = machine_config(settings, machine, Common([machine], image, image, registry_ca="any", members=[machine]))
    files = [file.path for file in config.files if file.path not in SHARED]
    files += [f"{names.programs}/{program}" for program in machine_files.PROGRAMS]
    mine = [f"{names.system}-{kind}" for kind in units.KINDS]
    return list(dict.fromkeys(files)), list(dict.fromkeys([*(unit.name for unit in config.units), *mine]))


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
