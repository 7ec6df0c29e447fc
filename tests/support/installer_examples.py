"""A machine and a release as the installer sees them, below a folder of the test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy.builds.release import render_release
from argosy.config.loading import load
from argosy.model import Image
from argosy_installer.machine import Machine, from_environment

ENVIRONMENT = {
    "SYSTEM": "air",
    "CLUSTER": "test",
    "MACHINE_NAME": "air-01",
    "MACHINE_ADDRESS": "192.168.55.101",
    "MACHINE_ROLE": "member",
    "REGISTRY": "192.168.55.1:5000",
    "ETCD_ENDPOINTS": "https://192.168.55.101:2379,https://192.168.55.102:2379",
    "RELEASE_VERSION": "0.1.3",
}


def machine(root: Path, **environment: str) -> Machine:
    return from_environment({**ENVIRONMENT, **environment}, root)


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_release(folder: Path, services: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the release that the library renders, so that both sides are tested against each other."""
    names = sorted({str(service["image"]) for service in services.values()})
    config = {
        "images": {name: {"context": name} for name in names},
        "services": services,
        "discovery": {"enabled": False},
        "clusters": {"test": {}},
    }
    images = {name: Image(name, f"air/{name}", "0.1.3", f"sha256:{number:064x}") for number, name in enumerate(names)}
    for path, content in render_release(load(config, root=folder), images).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
