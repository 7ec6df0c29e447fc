"""Pure. The files that a machine's cloud-config puts on it, and where they are.

/etc/S/machine.env        who this machine is and where the registry and etcd are; every unit reads it
/etc/S/release.env        the release to install first; /var/lib/S/release.env, which an upgrade writes, wins over
                          it, since coreos-cloudinit writes its files anew at every boot
/etc/S/etcd.env           etcd's settings, and its image
/etc/S/settings.json      {"database/host": "10.0.0.5"}: settings that the first machine puts into etcd
/etc/S/metadata.json      {"tier": "green"}: what /machines/NAME says of this machine
/etc/S/shared.json        what the files that we share with the machine's owner held before (argosy.cloudconfig.shared);
                          of machines that were there before they were ours
/etc/S/required-secrets   names of files under /etc/S/secrets, one a line
/opt/S/bin/               programs (templates/machine)
/run/S/dns/upstream.conf  whom dnsmasq asks: made on the machine at boot (use-dns)
/etc/environment, /etc/docker/daemon.json, /etc/docker/certs.d/REGISTRY/ca.crt

The cluster's provider may add its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argosy.config import dns
from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.model import File, Image, Machine
from argosy.paths import UNIT_FOLDER, Names
from argosy.rendering.rendering import render
from argosy.secrets.names import required_secrets

ETCD_METRICS_PORT = 2381
PROGRAMS = ("check-secrets", "etcdctl", "installer", "make-swap", "pull-image", "service-settings", "use-dns")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._:/@,=+\[\]-]*")
_UBUNTU_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games:/usr/local/games:/snap/bin"


@dataclass(frozen=True, slots=True)
class Common:
    """What all machines of a cluster are made with.

    `machines`: all of them; the first `etcd.max_members` run etcd, the others are its clients. `members`: who runs etcd
    instead, in a cluster that has been so for a while. `release`, `etcd`: the images to install, by digest.
    `registry_ca`: PEM of the CA that the registry's certificate is checked against; empty for one that the OS trusts.
    `authorized_keys`: who may log in. `initial_state`: `new`, or `existing` for a machine that joins.
    """

    machines: Sequence[Machine]
    release: Image
    etcd: Image
    registry_ca: str = ""
    authorized_keys: Sequence[str] = ()
    initial_state: str = "new"
    members: Sequence[Machine] | None = None


def files(
    settings: Settings, names: Names, machine: Machine, members: Sequence[Machine], common: Common
) -> tuple[File, ...]:
    """Return every file of `machine` but its provider's. `members`: the machines that run etcd."""
    member = machine.name in {other.name for other in members}
    contents = {
        "/etc/environment": environment(machine),
        "/etc/docker/daemon.json": daemon_json(settings, machine.os),
        f"{names.config}/machine.env": env_file(machine_env(settings, machine, members)),
        f"{names.config}/release.env": env_file(release_env(settings, common.release)),
        f"{names.config}/settings.json": json_file(
            {key: setting_text(value) for key, value in settings.settings.items()}
        ),
        f"{names.config}/metadata.json": json_file(machine.metadata),
        f"{names.config}/required-secrets": "".join(f"{name}\n" for name in required_secrets(settings, member)),
        f"{names.config}/etcd.env": env_file(etcd_env(settings, names, machine, members, common)),
    }
    if common.registry_ca:
        for registry in filter(None, (settings.registry.address, settings.discovered_registry)):
            contents[f"/etc/docker/certs.d/{registry}/ca.crt"] = common.registry_ca
    return (*(File(path, content) for path, content in contents.items()), *programs(settings, names))


def programs(settings: Settings, names: Names) -> list[File]:
    """Return the programs, the command among them with a launcher in everybody's PATH."""
    left_out = {"make-swap": not has_swap(settings), "use-dns": not settings.discovery.enabled}
    sources = {name: f"machine/{name}.sh.j2" for name in PROGRAMS if not left_out.get(name)}
    sources[names.system] = "machine/command.sh.j2"
    values = {
        "client_port": settings.etcd.client_port,
        "domain": settings.discovery.domain,
        "loopback": dns.LOOPBACK_ADDRESS,
        "bridge": dns.bridge_address(settings),
        "upstream_name": dns.UPSTREAM_NAME,
        "unit_folder": UNIT_FOLDER,
    }
    made = [
        File(f"{names.programs}/{name}", render(source, names=names, **values), 0o755)
        for name, source in sources.items()
    ]
    return [*made, File(names.command, render("machine/launcher.sh.j2", names=names), 0o755)]


def has_swap(settings: Settings) -> bool:
    """Return whether the machine gets a swap file; a container uses its host's swap."""
    return settings.machine.swap_megabytes > 0 and not settings.machine.container


def machine_env(settings: Settings, machine: Machine, members: Sequence[Machine]) -> dict[str, str]:
    """Return machine.env: read by systemd, by Docker (--env-file) and by our programs."""
    member = machine.name in {other.name for other in members}
    values = {
        "SYSTEM": settings.system,
        "CLUSTER": settings.cluster,
        "MACHINE_NAME": machine.name,
        "MACHINE_ADDRESS": machine.address,
        "MACHINE_ROLE": "member" if member else "client",
        "REGISTRY": settings.registry.address,
        "ETCD_ENDPOINTS": ",".join(f"https://{member.address}:{settings.etcd.client_port}" for member in members),
    }
    # Docker's own choice is known on the machine only.
    return values | ({"BRIDGE_ADDRESS": dns.bridge_address(settings)} if settings.discovery.enabled else {})


def release_env(settings: Settings, release: Image) -> dict[str, str]:
    """Return release.env: which installer image to run."""
    return {"RELEASE_VERSION": release.version, "RELEASE_IMAGE": release.reference(settings.registry.address)}


def etcd_env(
    settings: Settings, names: Names, machine: Machine, members: Sequence[Machine], common: Common
) -> dict[str, str]:
    """Return etcd.env. Paths are those in the container, which has the secrets where the machine has them.

    IMAGE is not etcd's: the unit reads it. Source: https://etcd.io/docs/v3.4/op-guide/configuration/
    """
    client, peer, secrets = settings.etcd.client_port, settings.etcd.peer_port, names.secrets
    values = {"IMAGE": common.etcd.reference(settings.registry.address)}
    if machine.name not in {other.name for other in members}:
        return values
    return values | {
        "ETCD_NAME": machine.name,
        "ETCD_DATA_DIR": "/var/lib/etcd",
        "ETCD_INITIAL_CLUSTER": ",".join(f"{member.name}=https://{member.address}:{peer}" for member in members),
        "ETCD_INITIAL_CLUSTER_STATE": common.initial_state,
        "ETCD_INITIAL_CLUSTER_TOKEN": f"{settings.system}-{settings.cluster}",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"https://{machine.address}:{peer}",
        "ETCD_LISTEN_PEER_URLS": f"https://{machine.address}:{peer}",
        "ETCD_ADVERTISE_CLIENT_URLS": f"https://{machine.address}:{client}",
        "ETCD_LISTEN_CLIENT_URLS": f"https://127.0.0.1:{client},https://{machine.address}:{client}",
        "ETCD_LISTEN_METRICS_URLS": f"http://127.0.0.1:{ETCD_METRICS_PORT}",
        "ETCD_STRICT_RECONFIG_CHECK": "true",
        "ETCD_CLIENT_CERT_AUTH": "true",
        "ETCD_TRUSTED_CA_FILE": f"{secrets}/ca.crt",
        "ETCD_CERT_FILE": f"{secrets}/etcd-server.crt",
        "ETCD_KEY_FILE": f"{secrets}/etcd-server.key",
        "ETCD_PEER_CLIENT_CERT_AUTH": "true",
        "ETCD_PEER_TRUSTED_CA_FILE": f"{secrets}/ca.crt",
        "ETCD_PEER_CERT_FILE": f"{secrets}/etcd-peer.crt",
        "ETCD_PEER_KEY_FILE": f"{secrets}/etcd-peer.key",
        # Only the newest revisions matter to us; without compaction the history grows until the quota stops writes.
        "ETCD_AUTO_COMPACTION_MODE": "periodic",
        "ETCD_AUTO_COMPACTION_RETENTION": "1h",
        "ETCD_LOGGER": "zap",
    }


def environment(machine: Machine) -> str:
    """Return /etc/environment: the addresses by the names that CoreOS gave them, and by neutral ones."""
    values = {
        "COREOS_PUBLIC_IPV4": machine.address,
        "COREOS_PRIVATE_IPV4": machine.address,
        "MACHINE_NAME": machine.name,
        "MACHINE_ADDRESS": machine.address,
    }
    # Ubuntu brings this file with one line, and only it.
    path = f'PATH="{_UBUNTU_PATH}"\n' if machine.os == "ubuntu" else ""
    return path + env_file(values)


def daemon_json(settings: Settings, os: str) -> str:
    """Return Docker's daemon.json. Trust in the registry is not here but in certs.d, which needs no restart.

    No `live-restore`: Swarm, which places the scheduled services, refuses to work with it. Nothing that Fedora CoreOS
    gives dockerd as a flag (log driver), since dockerd does not start with one setting in both places.
    """
    log: dict[str, object] = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}
    chosen: dict[str, object] = {
        "bip": dns.bridge_interface(settings) if settings.discovery.enabled else settings.docker.bip,
        "dns": dns.container_servers(settings),
        "storage-driver": settings.docker.storage_driver,
    }
    return json_file({key: value for key, value in chosen.items() if value} | ({} if os == "fedora-coreos" else log))


def env_file(values: Mapping[str, str]) -> str:
    """Return NAME=VALUE lines that systemd, Docker and a shell all read as the same.

    They quote differently, so a value may hold only what none of them treats specially; ConfigError names another.
    """
    for name, value in values.items():
        if not _PLAIN_VALUE.fullmatch(value):
            raise ConfigError(f"{value!r} can't stand in a .env file: use letters, digits and . _ : / @ - [ ]", name)
    return "".join(f"{name}={value}\n" for name, value in values.items())


def json_file(value: Mapping[str, object]) -> str:
    """Return `value` as a JSON file with sorted keys, so that the same settings give the same bytes."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def setting_text(value: str | int | float | bool) -> str:
    """Return a setting as the text that stands in etcd: YAML's true is `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
