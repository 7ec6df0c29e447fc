"""Identities of age; its module has no types."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from argosy.secrets.value import Secret

pyrage: Any = import_module("pyrage")


def new_identity() -> Secret:
    return Secret(str(pyrage.x25519.Identity.generate()).encode())


def recipient_of(identity: Secret) -> str:
    return str(pyrage.x25519.Identity.from_str(identity.reveal().decode()).to_public())


def encrypted(text: bytes, identity: Secret) -> bytes:
    return bytes(pyrage.encrypt(text, [pyrage.x25519.Recipient.from_str(recipient_of(identity))]))
