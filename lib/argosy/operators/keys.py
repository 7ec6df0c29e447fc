"""What opens a bundle, and the keys of an operator in the checkout that adds it.

secrets/CLUSTER/operators/NAME/     0700
    id_ed25519, id_ed25519.pub      by which it logs in on machines
    operator.crt, operator.key      by which it talks to etcd
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.operators.bundle import IDENTITY
from argosy.pki import authority
from argosy.secrets import sources
from argosy.secrets.value import Secret
from argosy.ssh.keypair import ensure_key_pair

VARIABLE = "ARGOSY_BUNDLE_KEY"
SSH_KEY = "id_ed25519"
FILES = (SSH_KEY, f"{SSH_KEY}.pub", "operator.crt", "operator.key")


@dataclass(frozen=True, slots=True)
class Keys:
    """The files of an operator's key pair for ssh, and of its certificate."""

    ssh_key: Path
    certificate: authority.Pair

    @property
    def ssh_public_key(self) -> str:
        return self.ssh_key.with_name(f"{self.ssh_key.name}.pub").read_text().strip()


def folder(settings: Settings, name: str) -> Path:
    return settings.secrets_path / "operators" / name


def are_made(settings: Settings, name: str) -> bool:
    return all((folder(settings, name) / file).exists() for file in FILES)


def ensure(settings: Settings, name: str) -> Keys:
    """Return the operator's keys, made when missing; its certificate is renewed where needed. Idempotent."""
    where = folder(settings, name)
    ensure_key_pair(where / SSH_KEY, f"{settings.system}-{settings.cluster}-{name}")
    return Keys(where / SSH_KEY, authority.ensure_another_operator(settings.secrets_path, where, name))


def remove(settings: Settings, name: str) -> None:
    """Remove the keys of an operator. Idempotent."""
    if folder(settings, name).exists():
        shutil.rmtree(folder(settings, name))


def bundle_key(settings: Settings, key_file: str, ask: Callable[[], str]) -> Secret:
    """Return what a bundle is opened by: a passphrase or an identity of age, from `key_file`, from the environment
    (ARGOSY_BUNDLE_KEY), or asked for. Raises ConfigError when it is empty."""
    if key_file:
        content = sources.read_file(settings, settings.root / Path(key_file).expanduser(), "key-file").reveal()
    else:
        content = os.fsencode(os.environ.get(VARIABLE) or ask())
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            "neither a passphrase nor an identity of age: it isn't UTF-8 text", key_file or VARIABLE
        ) from None
    # A file of age-keygen has comments above the identity.
    lines = [line.strip() for line in text.splitlines()]
    found = next((line for line in lines if line.startswith(IDENTITY)), text.strip("\r\n"))
    if not found:
        raise ConfigError("an empty key opens nothing", key_file or VARIABLE)
    return Secret(found.encode())
