"""Pure. What our certificates look like, and whether one is still good. Keys, serial numbers and the time are given.

A CA per cluster (EC P-256, ten years) signs leaves of three years. A certificate is always made for a key that is
already on the disk, and a renewal keeps the key: so no crash leaves a certificate beside another's key.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3653
AUTHORITY_RENEWAL_DAYS = 1460
"""More than a leaf's life, so that no leaf is ever cut short by its CA."""
LEAF_DAYS = 1096
LEAF_RENEWAL_DAYS = 30
_CLOCK_SKEW = timedelta(hours=1)
"""Machines whose clock is behind ours accept a new certificate all the same."""

OPERATOR = "operator"
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Authority:
    """A cluster's CA. `key` signs; it never leaves the provisioning host."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True)
class Request:
    """What a leaf says. `hosts`: DNS names and IPv4 addresses (the SANs); none for a client's certificate."""

    common_name: str
    usages: tuple[x509.ObjectIdentifier, ...]
    hosts: tuple[str, ...] = ()


def machine_requests(name: str, address: str) -> dict[str, Request]:
    """Return the certificates of a machine by the name of their files.

    etcd's own gateway presents the *server* certificate as a client, so it needs both usages
    (https://github.com/etcd-io/etcd/issues/9785); peers are server and client to each other, and etcd compares the
    SAN with the address that a peer connects from (https://etcd.io/docs/v3.4/op-guide/security/).
    """
    hosts = (name, address, "localhost", "127.0.0.1")
    return {
        "etcd-server": Request(name, (SERVER, CLIENT), hosts),
        "etcd-peer": Request(name, (SERVER, CLIENT), hosts),
        "etcd-client": Request(name, (CLIENT,)),
    }


def operator_request(name: str = "") -> Request:
    """Return the certificate by which an operator talks to etcd. `name`: empty for who set the cluster up."""
    return Request(f"{OPERATOR}:{name}" if name else OPERATOR, (CLIENT,))


def operator_of(certificate: x509.Certificate) -> str:
    """Return the operator whom an operator's certificate names; empty for who set the cluster up."""
    return _common_name(certificate).removeprefix(OPERATOR).removeprefix(":")


def key_fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the public key in it, which a renewal keeps, in hexadecimal."""
    return hashlib.sha256(_encoded(certificate.public_key())).hexdigest()


def registry_request(hosts: Iterable[str]) -> Request:
    """Return the registry's certificate; it always answers as localhost too, which is how we push to our own."""
    ordered = tuple(dict.fromkeys((*hosts, "localhost", "127.0.0.1")))
    return Request("registry", (SERVER,), ordered)


def authority_certificate(
    cluster: str, key: ec.EllipticCurvePrivateKey, serial: int, now: datetime
) -> x509.Certificate:
    """Return a self-signed CA certificate of `cluster`; made again for the same key, it keeps its leaves valid."""
    # X.520 allows a common name 64 characters.
    issuer = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Argosy CA")
    name = x509.Name([issuer, x509.NameAttribute(NameOID.COMMON_NAME, cluster[:64] or "cluster")])
    builder = _builder(name, name, key.public_key(), serial, (now, now + timedelta(days=AUTHORITY_DAYS)))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256())


def leaf_certificate(
    request: Request, key: ec.EllipticCurvePublicKey, authority: Authority, serial: int, now: datetime
) -> x509.Certificate:
    """Return a certificate for `key` that says what `request` asks for, signed by `authority`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, request.common_name)])
    end = min(now + timedelta(days=LEAF_DAYS), authority.certificate.not_valid_after_utc)
    builder = _builder(name, authority.certificate.subject, key, serial, (now, end))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(request.usages), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if request.hosts:
        builder = builder.add_extension(_alternative_names(request.hosts), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def authority_renewal(certificate: x509.Certificate, now: datetime) -> str:
    """Return why a CA's certificate must be renewed, or an empty string."""
    return _expiry(certificate, now, AUTHORITY_RENEWAL_DAYS)


def leaf_renewal(
    certificate: x509.Certificate, request: Request, key: ec.EllipticCurvePublicKey, authority: Authority, now: datetime
) -> str:
    """Return why a leaf must be made anew, or an empty string when it is good."""
    if not same_key(certificate, key):
        return "it belongs to another key"
    if not signed_by(certificate, authority.certificate):
        return "another CA signed it"
    if _hosts(certificate) != frozenset(request.hosts):
        return "its names differ"
    if _common_name(certificate) != request.common_name or _usages(certificate) != frozenset(request.usages):
        return "its purpose differs"
    return _expiry(certificate, now, LEAF_RENEWAL_DAYS)


def made_at(certificate: x509.Certificate) -> datetime:
    """Return when we made it, to the second."""
    return certificate.not_valid_before_utc + _CLOCK_SKEW


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether this CA signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def same_key(certificate: x509.Certificate, key: ec.EllipticCurvePublicKey) -> bool:
    """Return whether `certificate` was made for `key`."""
    return _encoded(certificate.public_key()) == _encoded(key)


def _encoded(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(serial)
    return builder.not_valid_before(valid[0] - _CLOCK_SKEW).not_valid_after(valid[1])


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_alternative_name(host) for host in hosts])


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(name.value) for name in names)


def _usages(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier]:
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return frozenset()


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _expiry(certificate: x509.Certificate, now: datetime, days: int) -> str:
    if now < certificate.not_valid_before_utc:
        return "it is not valid yet"
    return "it expires soon" if certificate.not_valid_after_utc - now < timedelta(days=days) else ""
