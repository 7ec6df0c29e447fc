"""What a checkout remembers of its cluster's secrets, in secrets/CLUSTER/:

generation.json     the cluster's record as it was last known here, and this checkout's own id
fingerprint.key     the key of the record's fingerprints; it goes to the machines, too
"""

from __future__ import annotations

import secrets as randomness

from argosy import atomic
from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused
from argosy.secrets.deciding import FETCH
from argosy.secrets.generations import Remembered, SecretsRecord
from argosy.secrets.names import FINGERPRINT_KEY
from argosy.secrets.sources import Source

FILE_NAME = "generation.json"
KEY_BYTES = 32


def key_source(settings: Settings) -> Source:
    """Return the source of the fingerprints' key: made once in a cluster's life, as the secrets of generate_bytes."""
    return Source(FINGERPRINT_KEY, settings.secrets_path / FINGERPRINT_KEY, generate_bytes=KEY_BYTES)


def read_key(settings: Settings) -> bytes | None:
    path = key_source(settings).path
    return path.read_bytes() if path.exists() else None


def remembered(settings: Settings) -> Remembered | None:
    """Return what this checkout remembers, None when it never had the cluster's secrets. Raises ConfigError."""
    path = settings.secrets_path / FILE_NAME
    try:
        return Remembered.parse(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(f"{error}; remove it, then {FETCH}", str(path)) from None


def remember(settings: Settings, checkout: str, record: SecretsRecord) -> None:
    """Remember the record as it is now known. Idempotent."""
    atomic.ensure_private_folder(settings.secrets_path)
    text = f"{Remembered(checkout, record).text()}\n"
    atomic.write_if_changed(settings.secrets_path / FILE_NAME, text.encode(), mode=0o600)


def new_id() -> str:
    """Return an id for a checkout, or for a cluster's secrets."""
    return randomness.token_hex(8)


def refuse_lost(settings: Settings, name: str) -> None:
    """Raise Refused when the machines have a file of this name, as far as this checkout remembers: it is about to make
    another where only it can be asked."""
    found = remembered(settings)
    if found is not None and found.record.has(name):
        raise Refused(f"not here, but in the cluster's record: {name}; it is not made anew: {FETCH} brings it here")
