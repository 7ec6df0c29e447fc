"""An operator's bundle: what a checkout needs to work on a cluster, as JSON inside age encryption (ASCII armor).

https://age-encryption.org/v1. Encrypted it may be kept in git. A passphrase also proves that the bundle comes from who
knows it; whoever knows a recipient can make one for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from argosy.cluster.operator_record import Rights
from argosy.cluster.stored import StoredRecord
from argosy.errors import ConfigError
from argosy.secrets.value import Secret

ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
IDENTITY = "AGE-SECRET-KEY-"
VERSION = 1


@dataclass(frozen=True, slots=True)
class BundledMachine:
    name: str
    address: str
    os: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Bundle(StoredRecord):
    """`registries`: the passwords of those under `registries:`, by their places (a bundle of before has none).
    `ssh_key`, `certificate_key`, `authority_key`: private, in PEM; the last is empty unless the rights are full.
    `authorized_keys`: public keys of who may log in on machines that this operator makes, beside its own and those of
    operators that etcd tells of; `known_hosts`: host keys (`TYPE BASE64`) by their entry in known_hosts."""

    WHAT: ClassVar[str] = "an operator's bundle"

    version: int
    system: str
    cluster: str
    name: str
    rights: Rights
    ssh_key: str
    ssh_public_key: str
    certificate: str
    certificate_key: str
    authority: str
    authority_key: str
    registry_address: str
    registry_user: str
    registry_password: str
    registries: Mapping[str, str] = field(default_factory=dict)
    authorized_keys: tuple[str, ...]
    known_hosts: Mapping[str, tuple[str, ...]]
    machines: tuple[BundledMachine, ...]


def seal(bundle: Bundle, recipients: Sequence[str], key: Secret | None) -> bytes:
    """Return the bundle encrypted to `recipients` (age1...), or by `key`, a passphrase or an identity.

    Raises ConfigError for what is no recipient.
    """
    pyrage = _pyrage()

    text = bundle.text().encode()
    if recipients:
        return bytes(pyrage.encrypt(text, [_recipient(word) for word in recipients], armored=True))
    if key is None:
        raise AssertionError("neither recipients nor a key")
    if is_identity(key):
        return bytes(pyrage.encrypt(text, [_identity(key).to_public()], armored=True))
    return bytes(pyrage.passphrase.encrypt(text, key.reveal().decode(), armored=True))


def unseal(sealed: bytes, key: Secret, path: str) -> Bundle:
    """Return the bundle. Raises ConfigError for a key that does not open it, and for what is no bundle."""
    pyrage = _pyrage()

    try:
        if is_identity(key):
            text = pyrage.decrypt(sealed, [_identity(key)])
        else:
            text = pyrage.passphrase.decrypt(sealed, key.reveal().decode())
    except pyrage.DecryptError as error:
        kind = "identity" if is_identity(key) else "passphrase"
        raise ConfigError(f"this {kind} does not open it ({error})", path) from None
    try:
        bundle = Bundle.parse(text.decode())
    except ValueError as error:
        raise ConfigError(str(error), path) from None
    if bundle.version != VERSION:
        raise ConfigError(f"a bundle of version {bundle.version}, made by another Argosy than this", path)
    return bundle


def read(path: Path) -> bytes:
    """Return what is in a bundle's file. Raises ConfigError when it is not there or can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", str(path)) from None


def is_identity(key: Secret) -> bool:
    """Return whether the key is age's own (`age-keygen`), not a passphrase."""
    return key.reveal().startswith(IDENTITY.encode())


def _pyrage() -> Any:
    """Return the module, which has no types and is needed by these tasks alone."""
    return import_module("pyrage")


def _identity(key: Secret) -> Any:
    pyrage = _pyrage()

    try:
        return pyrage.x25519.Identity.from_str(key.reveal().decode())
    except pyrage.IdentityError as error:
        raise ConfigError(f"the key begins with {IDENTITY}, and is none: {error}", "bundle") from None


def _recipient(word: str) -> Any:
    pyrage = _pyrage()

    try:
        return pyrage.x25519.Recipient.from_str(word)
    except pyrage.RecipientError as error:
        raise ConfigError(f"{word!r} is no recipient of age (age1...): {error}", "recipient") from None
