"""Who we are to a machine: the key that proves it, the configured one and no other, and the entry node before it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from argosy.errors import ConfigError
from argosy.ssh.keypair import key_path, load_private, private_bytes, public_blob, public_key
from argosy.ssh.known_hosts import SSH_PORT

if TYPE_CHECKING:
    from argosy.config.loading import Settings

_KINDS: dict[type, Any] = {
    rsa.RSAPrivateKey: paramiko.RSAKey,
    ec.EllipticCurvePrivateKey: paramiko.ECDSAKey,
    ed25519.Ed25519PrivateKey: paramiko.Ed25519Key,
}


def login_key(settings: Settings) -> Path | None:
    """Return the key to log in with: that of a bundle, ssh.key, the cluster's own if it was made, else None (the
    operator's)."""
    key = key_path(settings)
    return key if settings.ssh.key or key.exists() else None


def refuse_without_key(settings: Settings) -> None:
    """Raise ConfigError where the machines are entered by some key of the operator's agent or ~/.ssh.

    The cluster's own key would be made for a machine that joins, and from then on be the only one that is tried.
    """
    if login_key(settings) is None:
        raise ConfigError("name the key that opens the machines, which the new one has to know, too", "ssh.key")


def parse_entry_node(text: str, user: str) -> tuple[str, str, int]:
    """Return (user, host, port) of `[user@]host[:port]`. Raises ConfigError."""
    name, _, place = text.rpartition("@")
    host, colon, port = place.partition(":")
    good = re.fullmatch(r"\w[\w.-]*", host, re.ASCII) and (name.split() == [name] if "@" in text else True)
    if not good or (colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigError(f"{text!r} is not [user@]host[:port]", "ssh.entry_node")
    return name or user, host, int(port or SSH_PORT)


@contextlib.contextmanager
def login(key: Path | None) -> Iterator[dict[str, Any]]:
    """Give what `SSHClient.connect` needs to log in with `key`, for as long as that takes.

    Without a key, the operator's agent and default keys are tried, as ssh(1) does. Raises ConfigError for a key
    that can't be used.
    """
    if key is None:
        yield {"allow_agent": True, "look_for_keys": True}
        return
    with contextlib.closing(paramiko.Agent()) if _is_locked(key) else contextlib.nullcontext() as agent:
        loaded = _held_by(agent, key) if agent else _load(key, key.stat().st_mtime_ns)
        yield {"pkey": loaded, "allow_agent": False, "look_for_keys": False}


def _is_locked(key: Path) -> bool:
    """Return whether the key has a passphrase. Raises ConfigError when it is no key, or can't be read."""
    try:
        _load(key, key.stat().st_mtime_ns)
    except FileNotFoundError:
        raise ConfigError(f"no key file {key}; create it, or name the key that the machines know", "ssh.key") from None
    except OSError as error:
        raise ConfigError(f"can't read the key {key}: {error.strerror}", "ssh.key") from None
    except TypeError:
        return True
    except (paramiko.SSHException, ValueError):
        raise ConfigError(f"{key} is not a private key that ssh understands", "ssh.key") from None
    return False


@lru_cache(maxsize=8)
def _load(key: Path, _mtime: int) -> paramiko.PKey:
    """Return the key, read once for all hosts, with KEY-cert.pub from beside it. Raises TypeError for one with a
    passphrase, ValueError for no key; ConfigError for a certificate that is none of this key's."""
    private = load_private(key.read_bytes())
    kind = next((kind for known, kind in _KINDS.items() if isinstance(private, known)), None)
    if kind is None:
        raise ValueError(f"paramiko knows no {type(private).__name__}")
    loaded: paramiko.PKey = kind.from_private_key(io.StringIO(private_bytes(private).decode()))
    certificate = Path(f"{key}-cert.pub")
    if certificate.exists():
        try:
            _check_certificate(certificate.read_bytes(), private.public_key())
            loaded.load_certificate(str(certificate))
        except (OSError, ValueError, UnsupportedAlgorithm, paramiko.SSHException):
            raise ConfigError(
                f"{certificate} is no certificate of {key} that is good now: have the key signed anew, or remove it",
                "ssh.key",
            ) from None
    return loaded


def _check_certificate(data: bytes, key: Any) -> None:
    """Raise ValueError for what is no certificate of this key, with which a user may log in now. paramiko looks at none
    of that, and the machines would refuse the login without a reason."""
    found = serialization.load_ssh_public_identity(data.strip())
    if not isinstance(found, serialization.SSHCertificate) or found.type is not serialization.SSHCertificateType.USER:
        raise ValueError("it is no user's certificate")
    if found.public_key() != key or found.valid_before <= time.time():
        raise ValueError("it is another key's, or its time is over")


def _held_by(agent: paramiko.Agent, key: Path) -> paramiko.PKey:
    """Return the agent's copy of a locked key, found by KEY.pub beside it.

    Each login has an agent connection of its own: paramiko's is not made for several threads.
    """
    if Path(f"{key}.pub").exists():
        blob = public_blob(public_key(key))
        for held in agent.get_keys():
            if held.asbytes() == blob:
                return held
    why = "the agent does not hold it" if os.environ.get("SSH_AUTH_SOCK") else "no agent runs"
    raise ConfigError(f"{key} has a passphrase and {why}: ssh-add {key}", "ssh.key")
