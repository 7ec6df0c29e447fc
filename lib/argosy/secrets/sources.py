"""Where a secret comes from on the provisioning host: a file, a command that prints it, or made here once."""

from __future__ import annotations

import os
import secrets as randomness
import subprocess
from dataclasses import dataclass
from pathlib import Path

from argosy import atomic
from argosy.config.loading import SecretReference, Settings
from argosy.errors import ConfigError
from argosy.secrets.value import Secret

COMMAND_SECONDS = 120
PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class Source:
    """One secret's source. `key`: the dotted path of its reference, for messages; `path`: its file, unless a command
    prints it; `generate_bytes`: how many random bytes to make the file from when it is missing (0: it is not made)."""

    key: str
    path: Path
    command: tuple[str, ...] = ()
    generate_bytes: int = 0


def named_source(settings: Settings, name: str) -> Source:
    """Return the source of `secrets: NAME`; without a file and a command it is secrets/CLUSTER/NAME."""
    return _source(settings, f"secrets.{name}", settings.secrets[name], settings.secrets_path / name)


def registry_password_source(settings: Settings) -> Source:
    """Return the source of the registry's password: as configured, else secrets/CLUSTER/registry.password (ours)."""
    reference = settings.registry.password
    if not reference.file and not reference.command:
        reference = SecretReference(generate_bytes=reference.generate_bytes or PASSWORD_BYTES)
    default = settings.secrets_path / "registry.password"
    return _source(settings, "registry.password", reference, default)


def login_source(settings: Settings, place: str) -> Source:
    """Return the source of the password for `registries: PLACE`; none is ever made."""
    default = settings.secrets_path / "registries" / f"{place}.password"
    return _source(settings, f"registries.{place}.password", settings.registries[place].password, default)


def build_source(settings: Settings, image: str, name: str) -> Source:
    """Return the source of a secret that an image's build is given. No machine gets it."""
    reference = settings.images[image].secrets[name]
    return _source(settings, f"images.{image}.secrets.{name}", reference, settings.secrets_path / name)


def will_be_made(source: Source) -> bool:
    """Return whether `ensure` would make the secret now."""
    return not source.command and source.generate_bytes > 0 and not source.path.exists()


def ensure(settings: Settings, source: Source) -> bool:
    """Make the secret's file if it is missing and may be made; return whether it was. Safe beside another run."""
    return will_be_made(source) and _make(settings, source)


def renew(settings: Settings, source: Source) -> None:
    """Make the secret's file anew, with another value. Raises ConfigError when it can't be written."""
    _make(settings, source, anew=True)


def _make(settings: Settings, source: Source, *, anew: bool = False) -> bool:
    """Return whether it was made: unless `anew` a file that is there stays as it is."""
    try:
        atomic.ensure_private_folder(settings.secrets_path)
        with atomic.locked(settings.secrets_path / ".lock"):
            if source.path.exists() and not anew:
                return False
            atomic.remove_leftovers(source.path.parent, f"{source.path.name}.")
            source.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.write(source.path, randomness.token_hex(source.generate_bytes).encode(), mode=0o600)
    except OSError as error:
        raise ConfigError(f"can't write {error.filename or source.path}: {error.strerror}", source.key) from None
    return True


def read(settings: Settings, source: Source) -> Secret:
    """Return the secret: a file's bytes as they are, or what the command prints less one line break at the end.

    Raises ConfigError naming the reference and how to supply the secret when there is none, when it is empty, or when
    every user of this host may read its file.
    """
    return _run(settings, source) if source.command else read_file(settings, source.path, source.key)


def text(settings: Settings, source: Source) -> str:
    """Return a secret that is a line of text, without the line break at its end. Raises ConfigError, as `read` does."""
    try:
        return read(settings, source).reveal().removesuffix(b"\n").decode()
    except UnicodeDecodeError:
        raise ConfigError("the password isn't UTF-8 text", source.key) from None


def read_file(settings: Settings, path: Path, key: str) -> Secret:
    """Return the bytes of a secret's file. `key`: what refers to it, for messages."""
    try:
        value = path.read_bytes()
        open_to_others = path.stat().st_mode & 0o007
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; write the secret there, or let it be made by generate_bytes", key) from None
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}", key) from None
    # Nothing in the cluster's own folder can be reached by others, since that is 0700.
    if open_to_others and not path.is_relative_to(os.path.normpath(settings.secrets_path)):
        raise ConfigError(f"every user of this host may read {path}; run: chmod 600 {path}", key)
    if not value:
        raise ConfigError(f"{path} is empty; write the secret there", key)
    return Secret(value)


def _run(settings: Settings, source: Source) -> Secret:
    key = f"{source.key}.command"
    program = source.command[0]
    try:
        done = subprocess.run(
            source.command, cwd=settings.root, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{program} did not end within {COMMAND_SECONDS} s", key) from None
    except OSError as error:
        raise ConfigError(f"can't run {program}: {error.strerror}", key) from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConfigError(f"{program} ended with {done.returncode}" + (f": {last}" if last else ""), key)
    value = done.stdout.removesuffix(b"\n")
    if not value:
        raise ConfigError(f"{program} printed nothing", key)
    return Secret(value)


def _source(settings: Settings, key: str, reference: SecretReference, default: Path) -> Source:
    path = settings.root / Path(reference.file).expanduser() if reference.file else default
    # Without links and `..`, so that whether a file is in the secrets folder can be told from its path.
    path = Path(os.path.normpath(path))
    return Source(key, path, tuple(reference.command), reference.generate_bytes)
