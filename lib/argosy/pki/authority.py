"""The cluster's CA and certificates, as files under its secrets folder (Settings.secrets_path, here `folder`):

    pki/                       0700
        ca.crt ca.key          the CA; the key never leaves this host
        ca-next.key            while the CA is changed for another: the other's, until that signs (ca.crt holds both)
        operator.{crt,key}     by which this host talks to etcd
        machines/NAME/etcd-{server,peer,client}.{crt,key}
    registry/tls.{crt,key}     the registry's

Keys are 0600 from their first byte, certificates 0644. Every function is idempotent: what is good is kept. A key is
written before its certificate and kept when that is renewed, so a crash at any point leaves a key alone or a matching
pair, and the next run goes on from there. Runs at the same time wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy import atomic
from argosy.certificates import (
    Authority,
    Request,
    authority_certificate,
    authority_renewal,
    leaf_certificate,
    leaf_renewal,
    machine_requests,
    made_at,
    operator_request,
    registry_request,
    same_key,
)
from argosy.errors import ConfigError
from argosy.model import Machine


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files. `renewed`: made or renewed by this call."""

    certificate: Path
    key: Path
    renewed: bool = False


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
        return sorted(found, key=lambda it: not same_key(it, key.public_key()))


def add_authority(folder: Path, *, now: datetime | None = None) -> None:
    """Make another CA and trust it beside the present one, which goes on signing. Idempotent while both are there."""
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
        if not any(same_key(it, key.public_key()) for it in _read_certificates(authority_path(folder))):
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
        old = [path for path in sorted(paths) if (it := _read_certificate(path)) and made_at(it) < before]
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


def ensure_operator_certificate(folder: Path, *, now: datetime | None = None) -> Pair:
    """Return the pair by which this host talks to etcd, made or renewed where needed."""
    now = now or _now()
    with _locked(folder):
        return _ensure_pair(folder / "pki", "operator", operator_request(), _ensure_ca(folder, now), now)


def ensure_registry_certificate(folder: Path, hosts: Iterable[str], *, now: datetime | None = None) -> Pair:
    """Return the registry's pair for `hosts` (names, addresses; localhost always added), made or renewed if needed."""
    now = now or _now()
    with _locked(folder):
        authority = _ensure_ca(folder, now)
        return _ensure_pair(folder / "registry", "tls", registry_request(hosts), authority, now)


def forget_machine(folder: Path, name: str) -> None:
    """Remove the keys and certificates of the machine `name`; fine when there are none."""
    if not (folder / "pki").is_dir():
        return
    with _locked(folder):
        where = folder / "pki" / "machines" / name
        for path in list(where.iterdir()) if where.is_dir() else []:
            path.unlink()
        if where.is_dir():
            where.rmdir()


def read_pairs(pairs: Mapping[str, Pair]) -> dict[str, bytes]:
    """Return the files of `pairs` as NAME.crt and NAME.key -> content."""
    files: dict[str, bytes] = {}
    for name, pair in pairs.items():
        files[f"{name}.crt"] = pair.certificate.read_bytes()
        files[f"{name}.key"] = pair.key.read_bytes()
    return files


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def pair_matches(certificate: Path, key: Path) -> bool:
    """Return whether two files are a certificate and its key."""
    found = _read_certificate(certificate)
    return found is not None and same_key(found, _ensure_key(key).public_key())


def _ensure_ca(folder: Path, now: datetime) -> Authority:
    certificate_path, key_path = authority_path(folder), folder / "pki" / "ca.key"
    if certificate_path.exists() and not key_path.exists():
        raise ConfigError(
            "the CA's key is lost; restore it from a backup, or move pki/ away to start with a new CA", str(key_path)
        )
    key = _ensure_key(key_path)
    trusted = _read_certificates(certificate_path)
    certificate = next((it for it in trusted if same_key(it, key.public_key())), None)
    if trusted and certificate is None:
        raise ConfigError(f"it is not the key of {certificate_path}; restore both from one backup", str(key_path))
    if certificate is None or authority_renewal(certificate, now):
        renewed = authority_certificate(folder.name, key, x509.random_serial_number(), now)
        _write_authorities(folder, [renewed if it == certificate else it for it in trusted] or [renewed])
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
    atomic.write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
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
