"""Sets of secrets as tests write them: files with their contents, and the record of who brought them."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

from argosy.secrets.generations import Generation, SecretsRecord, begun, ended, fingerprint, own_name

KEY = b"key"
NOW = datetime(2026, 1, 31, tzinfo=UTC)
Files = dict[str, str | None]
"""Contents by name; None: to be made."""
OLD: Files = {"ca.crt": "ca", "token": "old"}
NEW: Files = {"ca.crt": "ca", "token": "new"}


def digest(content: str) -> str:
    return sha256(content.encode()).hexdigest()


def prints(files: Files, machine: str = "") -> dict[str, str]:
    named = {own_name(machine, name) if machine else name: content for name, content in files.items()}
    return {name: fingerprint(KEY, name, digest(content or "")) for name, content in named.items()}


def generation(number: int, files: Files, *, checkout: str = "here", own: Files | None = None) -> Generation:
    found = prints(files) | prints(own or {}, "a")
    return Generation(number, "root@ops", checkout, "/air/secrets/test", NOW, found)


def record(
    *sets: Files, intended: Files | None = None, checkout: str = "here", own: Files | None = None
) -> SecretsRecord:
    """Return the record after these sets, one after the other, came to their end."""
    found = SecretsRecord("id")
    for number, files in enumerate(sets, 1):
        found = ended(begun(found, generation(number, files, own=own)))
    if intended is not None:
        found = begun(found, generation(1, intended, checkout=checkout))
    return found


def hashed(files: Files) -> dict[str, str]:
    return {name: digest(content or "") for name, content in files.items()}


ONE, TWO = record(OLD), record(OLD, NEW)
