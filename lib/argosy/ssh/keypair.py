"""The cluster's own ssh key, by which this host logs in on machines that it made."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from argosy import atomic
from argosy.errors import ConfigError


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
    """Return the line of PATH.pub, beside the private key `path` of the operator's own."""
    public = path.with_name(f"{path.name}.pub")
    try:
        lines = public.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
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
