"""The ssh key by which this host logs in on machines: the operator's, or the cluster's own, made when first needed.

The checkout of an operator who joined (operator.join) has, in secrets/CLUSTER/ssh/, operator_ed25519, which goes before
`ssh.key`, and authorized_keys: of who set the cluster up, for machines that it makes.
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from argosy import atomic
from argosy.errors import ConfigError

if TYPE_CHECKING:
    from argosy.config.loading import Settings


def key_path(settings: Settings) -> Path:
    """Return where the private key is, or will be: that of a bundle, `ssh.key`, else the cluster's own."""
    if joined_key_path(settings).exists():
        return joined_key_path(settings)
    if settings.ssh.key:
        return settings.root / Path(settings.ssh.key).expanduser()
    return settings.secrets_path / "ssh" / "id_ed25519"


def joined_key_path(settings: Settings) -> Path:
    """Return where a bundle's private key is."""
    return settings.secrets_path / "ssh" / "operator_ed25519"


def joined_authorized_keys_path(settings: Settings) -> Path:
    """Return where a bundle's public keys of others are, a line each."""
    return settings.secrets_path / "ssh" / "authorized_keys"


def authorized_keys(settings: Settings) -> list[str]:
    """Return the public keys that may log in on machines: that of our key, those of a bundle, and
    `machine.authorized_keys`."""
    brought = joined_authorized_keys_path(settings)
    others = brought.read_text().splitlines() if brought.exists() else []
    return list(dict.fromkeys([public_key(key_path(settings)), *others, *settings.machine.authorized_keys]))


def ensure_own_key(settings: Settings) -> None:
    """Make the cluster's own key pair when it is needed and missing. Idempotent."""
    if not settings.ssh.key and not joined_key_path(settings).exists():
        ensure_key_pair(key_path(settings), f"{settings.system}-{settings.cluster}")


def ensure_key_pair(path: Path, comment: str) -> str:
    """Return the public key's line, such as `ssh-ed25519 AAAA... argosy-local`; the pair is made when it is missing.

    `path`: of the private key (0600); the public one is beside it with `.pub`. Idempotent, safe beside another run: the
    private key is written first, and the public one always follows from it.
    """
    try:
        atomic.ensure_private_folder(path.parent)
        with atomic.locked(path.parent / ".lock"):
            if not path.exists():
                atomic.write(path, private_bytes(ed25519.Ed25519PrivateKey.generate()), mode=0o600)
            line = f"{_public_key(path)} {comment}"
            atomic.write_if_changed(path.with_name(f"{path.name}.pub"), f"{line}\n".encode())
    except OSError as error:
        raise ConfigError(
            f"{error.strerror}; the secrets folder must be writable", str(error.filename or path)
        ) from None
    return line


def public_key(path: Path) -> str:
    """Return the line of PATH.pub, beside the private key `path` of the operator's own. Raises ConfigError."""
    public = path.with_name(f"{path.name}.pub")
    try:
        lines = public.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    if not lines and not path.exists():
        raise ConfigError(f"there is no {path}: name the key that opens the machines", "ssh.key")
    if len(lines) != 1 or public_blob(lines[0]) is None:
        raise ConfigError(f"no public key in {public}; make it: ssh-keygen -y -f {path} > {public}", "ssh.key")
    return lines[0].strip()


def public_blob(line: str) -> bytes | None:
    """Return the key itself of a line of a public key file, `TYPE BASE64 [COMMENT]`; None for what is no such line."""
    kind, _, rest = line.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split()[0], validate=True)
    except (ValueError, IndexError):
        return None
    # It begins with its type: RFC 4253, section 6.6.
    return blob if blob.startswith(struct.pack(">L", len(kind)) + kind.encode()) else None


def load_private(data: bytes) -> Any:
    """Return the private key of a file, as OpenSSH writes it or in PEM (PKCS#1, PKCS#8).

    Raises TypeError for one with a passphrase, ValueError for what is no key or of a kind that is not known.
    """
    try:
        try:
            return serialization.load_ssh_private_key(data, password=None)
        except ValueError:
            return serialization.load_pem_private_key(data, password=None)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None


def _public_key(path: Path) -> str:
    try:
        key = load_private(path.read_bytes()).public_key()
        encoded = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(
            "not an ssh key without a passphrase; move it away to have a new one made", str(path)
        ) from None
    return str(encoded.decode())


def private_bytes(key: Any) -> bytes:
    """Return a private key as OpenSSH writes it."""
    return bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
