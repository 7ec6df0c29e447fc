"""A folder in which the gce tasks run against the pretended API: tasks.py, invoke.yaml, a CA, a registry's password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from argosy import atomic
from argosy.pki import authority
from compute_api.images import FakeRegistry
from compute_api.server import FakeCompute
from compute_api.state import State

CLUSTER = "cloud"
PASSWORD = "correct horse"
TASKS = 'from argosy import ns as namespace\n\n__all__ = ["namespace"]\n'


def document(fake: FakeCompute, registry: str) -> dict[str, object]:
    """Return the invoke.yaml."""
    return {
        "system": "air",
        "registry": {"address": registry},
        "clusters": {
            CLUSTER: {
                "provider": "gce",
                "gce": {"project": fake.state.project, "zone": fake.state.zone, "emulator": fake.url},
            }
        },
    }


@contextmanager
def pretended_project(folder: Path, port: int = 0, registry_port: int = 0) -> Iterator[FakeCompute]:
    """Run the pretended API and registry, and write the folder that uses them."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = folder / "secrets" / CLUSTER
    atomic.ensure_private_folder(secrets)
    authority.ensure_ca(secrets)
    pair = authority.ensure_registry_certificate(secrets, ["127.0.0.1"])
    atomic.write(secrets / "registry.password", PASSWORD.encode(), mode=0o600)
    registry = FakeRegistry("air", CLUSTER, "argosy", PASSWORD, pair.certificate, pair.key, registry_port)
    with FakeCompute(port, State()) as fake, registry:
        (folder / "tasks.py").write_text(TASKS)
        (folder / "invoke.yaml").write_text(yaml.safe_dump(document(fake, registry.address), sort_keys=False))
        yield fake
