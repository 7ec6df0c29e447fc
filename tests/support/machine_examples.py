"""The machines that the tests of cloud-config describe: one of each OS, with all that a machine can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argosy.cloudconfig.config import machine_config
from argosy.cloudconfig.dialects.machine import MachineConfig
from argosy.cloudconfig.files import Common
from argosy.config.loading import Settings, load
from argosy.model import Image, Machine

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ operator@example"
RELEASE = Image("installer", "air/installer", "0.1.3", "sha256:" + "1" * 64)
ETCD = Image("etcd", "air/etcd", "0.1.0", "sha256:" + "2" * 64)

DOCUMENT: dict[str, Any] = {
    "registry": {"address": "192.168.55.1:5000"},
    "docker": {"bip": "172.17.42.1/16", "dns": ["192.168.55.1"], "storage_driver": "overlay2"},
    "machine": {"swap_megabytes": 512},
    "images": {"web": {"context": "web"}, "etcd": {"context": "etcd"}},
    "services": {"web": {"image": "web", "secrets": ["api.key"]}},
    "secrets": {"database-password": {"file": "database-password"}},
    "settings": {"database/host": "192.168.55.1", "database/port": 5432, "cache/on": True},
    "clusters": {"test": {}},
}


def settings(**sections: Any) -> Settings:
    return load({**DOCUMENT, **sections}, root=Path("/nowhere"))


def machines(os: str = "debian", count: int = 3) -> list[Machine]:
    return [
        Machine(f"air-{number:02}", f"192.168.55.{100 + number}", os, {"tier": "green"})
        for number in range(1, count + 1)
    ]


def config(os: str = "debian", number: int = 1, count: int = 3, **changes: Any) -> MachineConfig:
    """Return machine `number` of a cluster of `count`. `changes`: sections of the settings."""
    all_of_them = machines(os, count)
    return machine_config(settings(**changes), all_of_them[number - 1], Common(all_of_them, RELEASE, ETCD, CA, [KEY]))


def content(config: MachineConfig, path: str) -> str:
    """Return what the file or the unit `path` holds."""
    contents = {file.path: file.content for file in config.files}
    return (contents | {unit.name: unit.content for unit in config.units})[path]
