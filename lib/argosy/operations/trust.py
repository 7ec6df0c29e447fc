"""Pin a machine's ssh host key on purpose."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import inventory, known_hosts
from argosy.config import Settings
from argosy.errors import ConfigError, HostKeyMismatch, HostUnreachable
from argosy.known_hosts import HostKey


def address_of(settings: Settings, word: str) -> str:
    """Return the address that `word` (an address, or the name of a known machine) means."""
    named = {machine.name: machine.address for machine in inventory.load(settings)}
    named.update({name: entry.address for name, entry in settings.machines.items()})
    return named.get(word) or inventory.check_address(word)


def scan(settings: Settings, word: str, port: int = 0) -> list[HostKey]:
    """Return the keys that the host offers, which nothing trusts yet. Raises HostUnreachable."""
    address = address_of(settings, word)
    try:
        keys = known_hosts.scan(
            address, port or settings.ssh.port, timeout_seconds=settings.ssh.connect_timeout_seconds
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostUnreachable(word, f"no ssh server answers at {address}: {reason}. Is it up?") from None
    if not keys:
        raise HostUnreachable(word, f"the ssh server at {address} offers no key of a kind that we know")
    return keys


def choose(offered: Sequence[HostKey], fingerprint: str, word: str) -> list[HostKey]:
    """Return the keys to pin: the one of that fingerprint, or all when none is given. Raises HostKeyMismatch."""
    if not fingerprint:
        return list(offered)
    if not fingerprint.startswith("SHA256:"):
        raise ConfigError("it begins with SHA256:, as ssh-keygen -l prints it", "fingerprint")
    chosen = [key for key in offered if key.fingerprint == fingerprint]
    if not chosen:
        seen = ", ".join(key.fingerprint for key in offered)
        raise HostKeyMismatch(word, f"it offers {seen}, not {fingerprint}; nothing was trusted")
    return chosen


def pin(settings: Settings, word: str, port: int, keys: Sequence[HostKey]) -> bool:
    """Make `keys` the host's only ones in the cluster's known_hosts. Idempotent: returns whether it changed."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    path = settings.state_path / "known_hosts"
    return known_hosts.pin(path, address_of(settings, word), port or settings.ssh.port, *keys)
