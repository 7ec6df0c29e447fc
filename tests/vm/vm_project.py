"""A project whose cluster is one machine, made with as much patience as an emulated processor needs."""

from __future__ import annotations

import shutil

import yaml
from disk import SUITE
from lab import ROOT, Lab

SYSTEM = "reef"
CLUSTER = "e2e-vm"
THIRD = 62
MACHINE = f"{SYSTEM}-01"
ADDRESS = f"192.168.{THIRD}.11"
SECONDS = 1800
"""For what takes a minute on a machine whose processor is no emulation."""
MEMORY_MEGABYTES = 64
PATIENT = {"deadline_seconds": SECONDS, "timeout_seconds": 60}
WEB = {
    "image": "web",
    "memory_megabytes": MEMORY_MEGABYTES,
    "settings": {"GREETING": "greeting"},
    "secrets": ["password"],
    "check": {"http": {"port": 8080, "path": "/health"}, **PATIENT},
    "discovery": {"port": 8080, "scheme": "http"},
}


def make_project(lab: Lab) -> None:
    """Write a project whose cluster is one machine that is somebody else's matter (provider `static`)."""
    for name in ("web", "webservice"):
        shutil.copytree(ROOT / "example" / name, lab.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (lab.root / "VERSION").write_text("0.1\n")
    (lab.root / "tasks.py").write_text("from argosy import ns as namespace\n")
    document = {
        "system": SYSTEM,
        "registry": {"address": f"{lab.host}:{lab.registry_port}"},
        "ssh": {"connect_timeout_seconds": 60},
        "build": {"suite": SUITE},
        "machine": {"swap_megabytes": 128},
        "install": {"deadline_seconds": SECONDS},
        "etcd": {"timeout_seconds": 30},
        "swarm": {"enabled": False},
        # An emulated processor has no time for a beat every few seconds.
        "discovery": {"default_service": "web", "checks": PATIENT, "ttl_seconds": 120, "check_seconds": 20},
        "images": {
            "webservice": {"context": "webservice", "needs": {"PYTHON_IMAGE": "python"}, "push": False},
            "web": {"context": "web", "needs": {"WEBSERVICE_IMAGE": "webservice"}},
        },
        "services": {"web": WEB},
        "secrets": {"password": {"generate_bytes": 24}},
        "settings": {"greeting": "ahoy"},
        "clusters": {CLUSTER: {"provider": "static"}},
    }
    (lab.root / "invoke.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
