"""The engine of the provisioning host has to trust the cluster's CA before it can push to the cluster's registry.

Beside the CA, in /etc/docker/certs.d/ADDRESS, stands which checkout put it there (the engine reads .crt, .cert and .key
alone):

    argosy.json      {"id": "9f2c4e0d81b7a356", "path": "/work/air"}
"""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from argosy import atomic
from argosy.config.loading import Settings
from argosy.config.references import split_address
from argosy.engine.checkout import Checkout, checkout_of, is_at
from argosy.engine.connection import is_here
from argosy.errors import Refused
from argosy.pki import authority as pki
from argosy.registry import access
from argosy.report import Report

CERTIFICATES = Path("/etc/docker/certs.d")
OWNER = "argosy.json"
CONNECT_SECONDS = 10
LAST_LINE = b"-----END CERTIFICATE-----"


def trust_registry(settings: Settings, report: Report, folder: Path = CERTIFICATES) -> bool:
    """Put the CA where the local engine looks for it (https://docs.docker.com/engine/security/certificates/).

    Needs no restart of the engine. Returns whether it was written; where it can't be, one line says what to do.
    Does nothing when the cluster has no CA, or the registry's certificate is one of the system's CAs': then the
    registry is somebody else's, and others on this host may use it. Leaves the same CA as it is where another checkout
    has put it. Raises Refused when another checkout's CA, or one that nobody knows, is there.
    """
    authority = pki.authority_path(settings.secrets_path)
    target = folder / access.required_address(settings) / "ca.crt"
    if not authority.is_file() or _is_of_system(access.required_address(settings)):
        return False
    if not is_here():
        report("registry", f"the engine is elsewhere: to let it push, put {authority} there as {target}")
        return False
    refuse_other_trust(settings, folder)
    if _other_checkout(settings, target) is not None:
        return False  # of the same CA: theirs to renew and to take back
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_if_changed(target.parent / OWNER, json.dumps(asdict(checkout_of(settings))).encode() + b"\n")
        return atomic.write_if_changed(target, authority.read_bytes())
    except OSError as error:
        report(
            "registry",
            f"{target}: {error.strerror}; to let this engine push: sudo install -D -m 644 {authority} {target}",
        )
        return False


def refuse_other_trust(settings: Settings, folder: Path = CERTIFICATES) -> None:
    """Raise Refused when the engine trusts somebody else's CA at our registry's address."""
    target = folder / access.required_address(settings) / "ca.crt"
    if is_here() and (reason := _not_ours(settings, target, pki.authority_path(settings.secrets_path))):
        raise Refused(f"{target} is {reason}: choose another registry.address, or remove it (`rm -r {target.parent}`)")


def is_trusted(settings: Settings, folder: Path = CERTIFICATES) -> bool:
    """Return whether the engine trusts our CA because `trust_registry` of this checkout has put it there."""
    if not settings.registry.address:
        return False
    authority = pki.authority_path(settings.secrets_path)
    target = folder / access.required_address(settings) / "ca.crt"
    present = authority.is_file() and target.is_file() and target.read_bytes() == authority.read_bytes()
    return present and _other_checkout(settings, target) is None


def distrust_registry(settings: Settings, report: Report, folder: Path = CERTIFICATES) -> bool:
    """Take back what `trust_registry` wrote; what stands there of others stays. Returns whether it was there.

    Idempotent: the CA goes last. Where it can't be taken back, one line says what to do.
    """
    if not is_trusted(settings, folder):
        return False
    target = folder / access.required_address(settings) / "ca.crt"
    try:
        (target.parent / OWNER).unlink(missing_ok=True)
        target.unlink()
    except OSError as error:
        report("registry", f"{target}: {error.strerror}; to trust it no more: sudo rm -r {target.parent}")
        return False
    with suppress(OSError):  # something else is in the folder
        target.parent.rmdir()
    return True


def _is_of_system(address: str) -> bool:
    """Return whether what answers there has a certificate that the system's CAs have signed."""
    host, port = split_address(address)
    context, host = ssl.create_default_context(), host.strip("[]")
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except OSError:
        return False
    return True


def _not_ours(settings: Settings, target: Path, authority: Path) -> str:
    """Return whose the CA is that stands at `target`; empty when it is ours, none, or of a checkout that is gone."""
    if not target.is_file():
        return ""
    other = _other_checkout(settings, target)
    if other is None and _owner(target.parent / OWNER) is not None:
        return ""
    # Another checkout of the same cluster, or older than the file that says whose it is; a CA that is rotated has both
    # certificates for a while.
    ours = _certificates(authority.read_bytes()) if authority.is_file() else set()
    if ours & _certificates(target.read_bytes()):
        return ""
    return f"the CA of the checkout {other.path}" if other else "a CA that this checkout did not put there"


def _other_checkout(settings: Settings, target: Path) -> Checkout | None:
    """Return the checkout that has put the CA at `target`, if it is not this one and still there."""
    owner = _owner(target.parent / OWNER)
    others = owner and owner.id != checkout_of(settings).id and is_at(owner.path, settings.state_dir, owner.id)
    return owner if others else None


def _owner(path: Path) -> Checkout | None:
    if not path.is_file():
        return None
    try:
        return TypeAdapter(Checkout).validate_json(path.read_bytes())
    except ValidationError:
        raise Refused(f"{path} is not what Argosy wrote: remove it (`rm -r {path.parent}`)") from None


def _certificates(pem: bytes) -> set[bytes]:
    return {part.strip() for part in pem.split(LAST_LINE)[:-1]}
