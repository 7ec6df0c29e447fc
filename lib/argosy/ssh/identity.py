"""Which key proves who we are: the configured one and no other."""

from __future__ import annotations

import base64
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import paramiko

from argosy.errors import ConfigError


def connect_arguments(key: Path | None) -> dict[str, Any]:
    """Return what `SSHClient.connect` needs to log in with `key`.

    Without a key, the operator's agent and default keys are tried, as ssh(1) does. Raises ConfigError for a key
    that can't be used.
    """
    if key is None:
        return {"allow_agent": True, "look_for_keys": True}
    try:
        loaded = _load(key, key.stat().st_mtime_ns)
    except FileNotFoundError:
        raise ConfigError(f"no key file {key}; create it, or name the key that the machines know", "ssh.key") from None
    except OSError as error:
        raise ConfigError(f"can't read the key {key}: {error.strerror}", "ssh.key") from None
    return {"pkey": loaded, "allow_agent": False, "look_for_keys": False}


@lru_cache(maxsize=8)
def _load(key: Path, _mtime: int) -> paramiko.PKey:
    # Read once for all hosts. paramiko also takes KEY-cert.pub from beside it.
    try:
        return paramiko.PKey.from_path(key)
    except (paramiko.PasswordRequiredException, TypeError):
        # cryptography says TypeError for an encrypted key without a passphrase.
        return _from_agent(key)
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError):
        raise ConfigError(f"{key} is not a private key that ssh understands", "ssh.key") from None


def _from_agent(key: Path) -> paramiko.PKey:
    """Return the agent's copy of an encrypted key, found by KEY.pub beside it."""
    public = Path(f"{key}.pub")
    if public.exists():
        blob = base64.b64decode(public.read_text().split()[1])
        for held in paramiko.Agent().get_keys():
            if held.asbytes() == blob:
                return held
    agent = "the agent does not hold it" if os.environ.get("SSH_AUTH_SOCK") else "no agent runs"
    raise ConfigError(f"{key} has a passphrase and {agent}: ssh-add {key}", "ssh.key")
