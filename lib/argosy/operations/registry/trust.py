"""The engine of the provisioning host has to trust the cluster's CA before it can push to the cluster's registry."""

from __future__ import annotations

from pathlib import Path

from argosy import atomic, pki
from argosy.config import Settings
from argosy.console import Report
from argosy.engine_connection import is_here
from argosy.operations.registry import access

CERTIFICATES = Path("/etc/docker/certs.d")


def trust_registry(settings: Settings, report: Report, folder: Path = CERTIFICATES) -> bool:
    """Put the CA where the local engine looks for it (https://docs.docker.com/engine/security/certificates/).

    Needs no restart of the engine. Returns whether it was written; where it can't be, one line says what to do.
    Does nothing when the cluster has no CA: then the registry is somebody else's.
    """
    authority = pki.authority_path(settings.secrets_path)
    target = folder / access.required_address(settings) / "ca.crt"
    if not authority.is_file():
        return False
    if not is_here():
        report("registry", f"the engine is elsewhere: to let it push, put {authority} there as {target}")
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return atomic.write_if_changed(target, authority.read_bytes())
    except OSError as error:
        report(
            "registry",
            f"{target}: {error.strerror}; to let this engine push: sudo install -D -m 644 {authority} {target}",
        )
        return False


def distrust_registry(settings: Settings, folder: Path = CERTIFICATES) -> bool:
    """Take back what `trust_registry` wrote; another CA that stands there stays. Returns whether it was there."""
    authority = pki.authority_path(settings.secrets_path)
    target = folder / access.required_address(settings) / "ca.crt"
    if not (authority.is_file() and target.is_file()) or target.read_bytes() != authority.read_bytes():
        return False
    try:
        target.unlink()
        target.parent.rmdir()
    except OSError:  # not ours to write, or something else is in the folder
        return False
    return True
