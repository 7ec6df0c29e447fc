"""Pure. What there is to say of certificates: whose, by which CA, for how long. No key is ever looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from argosy.pki.certificates import LEAF_RENEWAL_DAYS, signed_by


@dataclass(frozen=True, slots=True)
class Described:
    """One certificate. `signer`: `CA` and the begin of its fingerprint where it is one of ours, else the issuer's name;
    `ours`: one of the cluster's CAs signed it; `days`: that are left, negative when they are over."""

    subject: str
    signer: str
    days: int
    until: datetime
    ours: bool

    @property
    def ends_soon(self) -> bool:
        return self.days < LEAF_RENEWAL_DAYS

    def to_json(self) -> dict[str, object]:
        return {"subject": self.subject, "signer": self.signer, "days": self.days, "until": self.until.isoformat()}


def describe(pem: bytes, authorities: Sequence[x509.Certificate], now: datetime) -> list[Described]:
    """Return what the certificates in `pem` say, in their order; none for what holds none."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []
    return [_described(certificate, authorities, now) for certificate in found]


def authority_name(certificate: x509.Certificate) -> str:
    """Return how a CA is called: all CAs of a cluster have one subject."""
    return f"CA {certificate.fingerprint(hashes.SHA256()).hex()[:8]}"


def _described(certificate: x509.Certificate, authorities: Sequence[x509.Certificate], now: datetime) -> Described:
    signer = next((authority for authority in authorities if signed_by(certificate, authority)), None)
    subject = authority_name(certificate) if certificate in authorities else _name(certificate.subject)
    return Described(
        subject,
        authority_name(signer) if signer else _name(certificate.issuer),
        (certificate.not_valid_after_utc - now).days,
        certificate.not_valid_after_utc,
        signer is not None,
    )


def _name(name: x509.Name) -> str:
    """Return the common name, else all that it says."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()
