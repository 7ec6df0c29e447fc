"""The ssh key by which this host logs in on machines: the operator's, or the cluster's own, made when first needed.

The checkout of an operator who joined (operator.join) has, in secrets/CLUSTER/ssh/, operator_ed25519, which goes before
`ssh.key`, and authorized_keys: of who set the cluster up, for machines that it makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
                atomic.write(path, _private_bytes(ed25519.Ed25519PrivateKey.generate()), mode=0o600)
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
    if len(lines) != 1 or len(lines[0].split()) < 2:
        raise ConfigError(f"no public key in {public}; make it: ssh-keygen -y -f {path} > {public}", "ssh.key")
    return lines[0].strip()


def _public_key(path: Path) -> str:
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise ConfigError(
            "not an ssh key without a passphrase; move it away to have a new one made", str(path)
        ) from None
    encoded = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode()


def _private_bytes(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
