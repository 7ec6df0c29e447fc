"""The cluster's CA and certificates, as files under its secrets folder (Settings.secrets_path, here `folder`):

    pki/                       0700
        ca.crt ca.key          the CA; the key never leaves this host
        ca-next.key            while the CA is changed for another: the other's, until that signs (ca.crt holds both)
        operator.{crt,key}     by which this host talks to etcd
        operator.name          whom they are to name, in the checkout of an operator who joined (operator.join)
        machines/NAME/etcd-{server,peer,client}.{crt,key}
    registry/tls.{crt,key}     the registry's

Keys are 0600 from their first byte, certificates 0644. Every function is idempotent: what is good is kept. A key is
written before its certificate and kept when that is renewed, so a crash at any point leaves a key alone or a matching
pair, and the next run resumes there. Runs at the same time wait for each other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy import atomic
from argosy.errors import ConfigError
from argosy.model import Machine
from argosy.pki.certificates import (
    Authority,
    Request,
    authority_certificate,
    authority_renewal,
    key_fingerprint,
    leaf_certificate,
    leaf_renewal,
    machine_requests,
    made_at,
    operator_of,
    operator_request,
    registry_request,
    same_key,
)

OPERATOR_NAME = "operator.name"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files. `renewed`: made or renewed by this call."""

    certificate: Path
    key: Path
    renewed: bool = False


def forget_machine(folder: Path, name: str) -> None:
    """Remove the certificates and keys of a machine that has left. Idempotent."""
    machines = folder / "pki" / "machines"
    if (machines / name).is_dir():
        with _locked(folder):
            shutil.rmtree(machines / name)


def authority_path(folder: Path) -> Path:
    """Return where the CA's certificate is (or will be): what clients of etcd and of the registry trust."""
    return folder / "pki" / "ca.crt"


def authorities(folder: Path) -> list[x509.Certificate]:
    """Return the CAs that are trusted: the one that signs first, none when there is no CA yet. Writes nothing.

    Raises ConfigError as `ensure_ca` does.
    """
    if not (authority_path(folder).exists() and (folder / "pki" / "ca.key").exists()):
        return []
    with _locked(folder):
        key = _ensure_key(folder / "pki" / "ca.key")
        found = _read_certificates(authority_path(folder))
        return sorted(found, key=lambda certificate: not same_key(certificate, key.public_key()))


def add_authority(folder: Path, *, now: datetime | None = None) -> None:
    """Make another CA and trust it beside the present one, which still signs. Idempotent while both are there."""
    now = now or _now()
    with _locked(folder):
        present = _ensure_ca(folder, now)
        trusted = _read_certificates(authority_path(folder))
        if len(trusted) > 1:
            return
        key = _ensure_key(_next_key_path(folder))
        added = authority_certificate(folder.name, key, x509.random_serial_number(), now)
        _write_authorities(folder, [present.certificate, added])


def switch_authority(folder: Path) -> None:
    """Let the CA that was added sign from now on; the key of the other is gone. Idempotent."""
    with _locked(folder):
        path = _next_key_path(folder)
        if not path.exists():
            return
        key = _ensure_key(path)
        if not any(
            same_key(certificate, key.public_key()) for certificate in _read_certificates(authority_path(folder))
        ):
            raise ConfigError(
                f"its certificate is not in {authority_path(folder)}; restore both from one backup", str(path)
            )
        path.replace(folder / "pki" / "ca.key")
        atomic.sync_folder(folder / "pki")


def drop_authorities(folder: Path, *, now: datetime | None = None) -> None:
    """Trust the CA that signs alone. Idempotent."""
    with _locked(folder):
        present = _ensure_ca(folder, now or _now())
        if len(_read_certificates(authority_path(folder))) > 1:
            _write_authorities(folder, [present.certificate])


def renew_certificates(folder: Path, before: datetime) -> list[str]:
    """Make all certificates that were made before that moment fit to be renewed by whoever ensures them next.

    Returns which they were, by their paths in `folder`. Their keys stay.
    """
    with _locked(folder):
        paths = [*folder.glob("pki/machines/*/*.crt"), folder / "pki" / "operator.crt", folder / "registry" / "tls.crt"]
        old = [
            path for path in sorted(paths) if (certificate := _read_certificate(path)) and made_at(certificate) < before
        ]
        for path in old:
            path.unlink()
    return [str(path.relative_to(folder)) for path in old]


def ensure_ca(folder: Path, *, now: datetime | None = None) -> Authority:
    """Return the CA of the cluster whose secrets are in `folder`, made when there is none.

    Raises ConfigError when its key is lost, open to other users, unreadable, or not the one of its certificate: all
    machines trust that certificate, so it is never replaced by another on our own account.
    """
    with _locked(folder):
        return _ensure_ca(folder, now or _now())


def ensure_machine_certificates(folder: Path, machine: Machine, *, now: datetime | None = None) -> dict[str, Pair]:
    """Return the pairs etcd-server, etcd-peer and etcd-client of `machine`, made or renewed where needed.

    One is renewed when its names or the CA differ, or when fewer than 30 days remain.
    """
    now = now or _now()
    with _locked(folder):
        authority = _ensure_ca(folder, now)
        where = folder / "pki" / "machines" / machine.name
        requests = machine_requests(machine.name, machine.address)
        return {name: _ensure_pair(where, name, request, authority, now) for name, request in requests.items()}


def current_machine_certificates(folder: Path, machine: Machine, *, now: datetime) -> dict[str, Pair]:
    """Return those pairs of `machine` that `ensure_machine_certificates` would keep. Writes nothing."""
    if not (authority_path(folder).exists() and (folder / "pki" / "ca.key").exists()):
        return {}
    with _locked(folder):
        authority = _ensure_ca(folder, now)
        where = folder / "pki" / "machines" / machine.name
        requests = machine_requests(machine.name, machine.address)
        found = {name: _good_pair(where, name, request, authority, now) for name, request in requests.items()}
    return {name: pair for name, pair in found.items() if pair is not None}


def read_machine_keys(folder: Path, machine: Machine) -> dict[str, bytes]:
    """Return the keys of `machine` that are here, by their files' names, with or without certificates."""
    where = folder / "pki" / "machines" / machine.name
    paths = [where / f"{name}.key" for name in machine_requests(machine.name, machine.address)]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def signs(folder: Path, trusted: bytes) -> bool:
    """Return whether the CA's key that is here belongs to one of these certificates."""
    key = _ensure_key(folder / "pki" / "ca.key").public_key()
    return any(same_key(certificate, key) for certificate in x509.load_pem_x509_certificates(trusted))


def refuse_lost_key(folder: Path) -> None:
    """Raise ConfigError when the CA's certificate is here without its key."""
    certificate_path, key_path = authority_path(folder), folder / "pki" / "ca.key"
    if certificate_path.exists() and not key_path.exists():
        raise ConfigError(
            "this host has no CA key; it is where the cluster was set up: bring it from there, or from a backup (a new "
            "CA would cut you off)",
            str(key_path),
        )


def ensure_operator_certificate(folder: Path, *, now: datetime | None = None) -> Pair:
    """Return the pair by which this host talks to etcd, made or renewed where needed.

    Without the CA's key it is the pair that an operator's bundle has brought. Raises ConfigError when that has expired,
    and for a lost key as `ensure_ca` does.
    """
    now = now or _now()
    with _locked(folder):
        if pair := _brought_pair(folder, now):
            return pair
        request = operator_request(operator_name(folder))
        return _ensure_pair(folder / "pki", "operator", request, _ensure_ca(folder, now), now)


def ensure_another_operator(folder: Path, where: Path, name: str, *, now: datetime | None = None) -> Pair:
    """Return the pair for the operator `name`, to be in the folder `where`, made or renewed where needed."""
    now = now or _now()
    with _locked(folder):
        return _ensure_pair(where, "operator", operator_request(name), _ensure_ca(folder, now), now)


def operator_path(folder: Path) -> Path:
    """Return where this host's certificate for etcd is (or will be)."""
    return folder / "pki" / "operator.crt"


def has_operator(folder: Path) -> bool:
    """Return whether this host can talk to etcd: it has a certificate for that, or can make one."""
    return operator_path(folder).exists() or (folder / "pki" / "ca.key").exists()


def operator_name(folder: Path) -> str:
    """Return which operator this checkout is; empty for the one that set the cluster up."""
    certificate, named = _read_certificate(operator_path(folder)), folder / "pki" / OPERATOR_NAME
    said = operator_of(certificate) if certificate is not None else ""
    return said or (named.read_text().strip() if named.exists() else "")


def operator_fingerprint(path: Path) -> str:
    """Return the fingerprint of the key that the certificate at `path` is for; empty when there is none."""
    certificate = _read_certificate(path)
    return key_fingerprint(certificate) if certificate is not None else ""


def _brought_pair(folder: Path, now: datetime) -> Pair | None:
    path, key_path = operator_path(folder), folder / "pki" / "operator.key"
    certificate = _read_certificate(path)
    if certificate is None or not operator_of(certificate):
        return None
    if (folder / "pki" / "ca.key").exists() or not (authority_path(folder).exists() and key_path.exists()):
        return None
    if certificate.not_valid_after_utc <= now:
        again = f"inv operator.add {operator_of(certificate)} where the CA's key is makes a new bundle"
        raise ConfigError(f"it has expired: {again}, inv operator.join takes it", str(path))
    return Pair(path, key_path)


def ensure_registry_certificate(folder: Path, hosts: Iterable[str], *, now: datetime | None = None) -> Pair:
    """Return the registry's pair for `hosts` (names, addresses; localhost always added), made or renewed if needed."""
    now = now or _now()
    with _locked(folder):
        authority = _ensure_ca(folder, now)
        return _ensure_pair(folder / "registry", "tls", registry_request(hosts), authority, now)


def read_pairs(pairs: Mapping[str, Pair]) -> dict[str, bytes]:
    """Return the files of `pairs` as NAME.crt and NAME.key -> content."""
    files: dict[str, bytes] = {}
    for name, pair in pairs.items():
        files[f"{name}.crt"] = pair.certificate.read_bytes()
        files[f"{name}.key"] = pair.key.read_bytes()
    return files


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _ensure_ca(folder: Path, now: datetime) -> Authority:
    refuse_lost_key(folder)
    certificate_path, key_path = authority_path(folder), folder / "pki" / "ca.key"
    key = _ensure_key(key_path)
    trusted = _read_certificates(certificate_path)
    certificate = next((certificate for certificate in trusted if same_key(certificate, key.public_key())), None)
    if trusted and certificate is None:
        raise ConfigError(f"it is not the key of {certificate_path}; restore both from one backup", str(key_path))
    if certificate is None or authority_renewal(certificate, now):
        renewed = authority_certificate(folder.name, key, x509.random_serial_number(), now)
        _write_authorities(
            folder, [renewed if authority == certificate else authority for authority in trusted] or [renewed]
        )
        certificate = renewed
    return Authority(certificate, key)


def _next_key_path(folder: Path) -> Path:
    return folder / "pki" / "ca-next.key"


def _write_authorities(folder: Path, certificates: Iterable[x509.Certificate]) -> None:
    atomic.write(authority_path(folder), b"".join(map(pem, certificates)))


def _ensure_pair(where: Path, name: str, request: Request, authority: Authority, now: datetime) -> Pair:
    atomic.ensure_private_folder(where)
    atomic.remove_leftovers(where, f"{name}.")
    good = _good_pair(where, name, request, authority, now)
    if good is not None:
        return good
    certificate_path, key_path = where / f"{name}.crt", where / f"{name}.key"
    key = _ensure_key(key_path)
    certificate = leaf_certificate(request, key.public_key(), authority, x509.random_serial_number(), now)
    atomic.write(certificate_path, pem(certificate))
    return Pair(certificate_path, key_path, renewed=True)


def _good_pair(where: Path, name: str, request: Request, authority: Authority, now: datetime) -> Pair | None:
    certificate_path, key_path = where / f"{name}.crt", where / f"{name}.key"
    certificate = _read_certificate(certificate_path)
    if certificate is None or not key_path.exists():
        return None
    bad = leaf_renewal(certificate, request, _ensure_key(key_path).public_key(), authority, now)
    return None if bad else Pair(certificate_path, key_path)


def _ensure_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        atomic.write(path, _key_pem(key), mode=0o600)
        return key
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"other users may read this key; run: chmod 600 {path}", str(path))
    try:
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"the key can't be read: {error.strerror}; run as its owner", str(path)) from None
    except (ValueError, TypeError):
        raise ConfigError("not a private key in PEM without a password; restore it from a backup", str(path)) from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ConfigError("not an elliptic-curve key; restore it from a backup", str(path))
    return loaded


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_certificate(path: Path) -> x509.Certificate | None:
    """Return the certificate at `path`, or None when it is not there or none (a leaf is then made anew)."""
    return next(iter(_read_certificates(path)), None)


def _read_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}; run as its owner", str(path)) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        atomic.ensure_private_folder(folder)
        atomic.ensure_private_folder(folder / "pki")
        with atomic.locked(folder / "pki" / ".lock"):
            atomic.remove_leftovers(folder / "pki")
            yield
    except OSError as error:
        raise ConfigError(
            f"{error.strerror}; the secrets folder must be writable", str(error.filename or folder)
        ) from None


def _now() -> datetime:
    return datetime.now(UTC)
