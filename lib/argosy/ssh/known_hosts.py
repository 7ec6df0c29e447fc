"""A cluster's own known_hosts file: which ssh host key each machine has.

The format is OpenSSH's (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), with plain host names, so that `ssh -o
UserKnownHostsFile=...` reads it too. Lines that are not a plain pin (markers, hashed names, comments) are kept when
the file is written and trusted for nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from argosy import atomic

if TYPE_CHECKING:
    import paramiko

SSH_PORT = 22
SCANNED_TYPES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key as it stands in a file: `type` such as ssh-ed25519, `blob` in base64."""

    type: str
    blob: str

    @classmethod
    def parse(cls, line: str) -> HostKey:
        """Return the key in a `TYPE BASE64 [comment]` line (ssh_host_*_key.pub). Raises ValueError."""
        words = line.split()
        if len(words) < 2:
            raise ValueError("not a public key: it needs TYPE BASE64")
        try:
            raw = base64.b64decode(words[1], validate=True)
        except binascii.Error:
            raise ValueError("not a public key: its second word is not base64") from None
        name = words[0].encode()
        if raw[: 4 + len(name)] != len(name).to_bytes(4, "big") + name:
            raise ValueError(f"not a public key of type {words[0]}")
        return cls(words[0], words[1])

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.blob)

    @property
    def fingerprint(self) -> str:
        """The key's name for people, as `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(self.raw).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {self.blob}"


def entry_name(address: str, port: int) -> str:
    """Return how a host stands in the file: ADDRESS, or [ADDRESS]:PORT on a port of its own."""
    return address if port == SSH_PORT else f"[{address}]:{port}"


def place(entry: str) -> tuple[str, int]:
    """Return the address and the port of a host, by how it stands in the file; what `entry_name` does not write is
    taken for an address."""
    address, _, port = entry.removeprefix("[").partition("]:")
    return (address, int(port)) if port.isdecimal() else (entry, SSH_PORT)


def trust_command(address: str, port: int) -> str:
    """Return the command that pins the key of a host anew, for messages."""
    return f"inv cluster.trust {address}" + (f" --port {port}" if port != SSH_PORT else "")


def read(path: Path) -> dict[str, tuple[HostKey, ...]]:
    """Return the pinned keys by entry name; no file means that none is pinned."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return {}
    return _read(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=8)
def _read(path: Path, *_identity: int) -> dict[str, tuple[HostKey, ...]]:
    # A fan-out asks for every one of hundreds of hosts: parse the file once for as long as it stays the same.
    pinned: dict[str, tuple[HostKey, ...]] = {}
    for line in path.read_text().splitlines():
        for name, key in _pins(line):
            pinned[name] = (*pinned.get(name, ()), key)
    return pinned


def pin(path: Path, address: str, port: int, *keys: HostKey | str) -> bool:
    """Make `keys` the only ones of this host. Idempotent: returns whether the file changed.

    `keys`: HostKey, or lines as in ssh_host_*_key.pub. Safe against other processes and a crash half-way.
    """
    parsed = [key if isinstance(key, HostKey) else HostKey.parse(key) for key in keys]
    name = entry_name(address, port)
    return _rewrite(path, name, [f"{name} {key}" for key in sorted(parsed, key=str)])


def forget(path: Path, address: str, port: int) -> bool:
    """Remove the host's keys. Idempotent: returns whether the file changed."""
    return path.exists() and _rewrite(path, entry_name(address, port), [])


def scan(
    address: str,
    port: int,
    *,
    timeout_seconds: float = 10,
    dial: Callable[[], socket.socket | paramiko.Channel] | None = None,
) -> list[HostKey]:
    """Ask the host for its keys, one connection for each kind, and trust none of them.

    `dial`: opens the connection when it can't be made directly (through an entry node).
    Raises OSError when nothing answers there, TimeoutError when it does not say its keys within `timeout_seconds`.
    """
    found: list[HostKey] = []
    for types in SCANNED_TYPES:
        sock = dial() if dial else socket.create_connection((address, port), timeout_seconds)
        with contextlib.closing(sock):
            key = _offered_key(sock, types, timeout_seconds)
        if key:
            found.append(key)
    return found


def _offered_key(
    sock: socket.socket | paramiko.Channel, types: tuple[str, ...], timeout_seconds: float
) -> HostKey | None:
    import paramiko

    transport = paramiko.Transport(sock)
    transport.banner_timeout = timeout_seconds
    try:
        transport.get_security_options().key_types = types
        transport.start_client(timeout=timeout_seconds)
        if transport.remote_version and not transport.initial_kex_done:
            # It returns when the time is over, too: of who greeted as ssh does, and is slow.
            raise TimeoutError
        key = transport.get_remote_server_key()
        return HostKey(key.get_name(), key.get_base64())
    except paramiko.ssh_exception.IncompatiblePeer:
        return None
    except (paramiko.SSHException, EOFError) as error:
        raise ConnectionError(f"what is there did not speak ssh ({str(error) or 'it hung up'})") from error
    finally:
        transport.close()


def _pins(line: str) -> Iterator[tuple[str, HostKey]]:
    words = line.split()
    if len(words) < 3 or words[0].startswith(("#", "@", "|")):
        return
    with contextlib.suppress(ValueError):
        key = HostKey.parse(" ".join(words[1:3]))
        for name in words[0].split(","):
            yield name, key


def _rewrite(path: Path, name: str, lines: list[str]) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock is a file of its own: the known_hosts file is replaced, and a lock on the old one would be void.
    with atomic.locked(path.parent / f".{path.name}.lock"):
        before = path.read_text().splitlines() if path.exists() else []
        after = [kept for line in before for kept in _without(line, name)] + lines
        if sorted(after) == sorted(before):
            return False
        atomic.write(path, "".join(f"{line}\n" for line in after).encode())
        return True


def _without(line: str, name: str) -> list[str]:
    """Return the line without `name`: nothing when it named only that."""
    names = {found for found, _ in _pins(line)}
    if name not in names:
        return [line]
    first, rest = line.split(maxsplit=1)
    others = [other for other in first.split(",") if other != name]
    return [f"{','.join(others)} {rest}"] if others else []
