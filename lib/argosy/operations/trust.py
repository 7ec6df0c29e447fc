"""Pin a machine's ssh host key on purpose."""

from __future__ import annotations

from collections.abc import Sequence

from argosy import inventory, known_hosts
from argosy.config import Settings
from argosy.errors import ConfigError, HostKeyMismatch, HostUnreachable
from argosy.host import Host, login_key, parse_entry_node
from argosy.host import scan as scan_host
from argosy.known_hosts import HostKey
from argosy.model import Machine


def address_of(settings: Settings, word: str) -> str:
    """Return the address that `word` (an address, the name of a known machine, the entry node) means."""
    named = {machine.name: machine.address for machine in inventory.load(settings)}
    named.update({name: entry.address for name, entry in settings.machines.items()})
    if _is_entry_node(settings, word):
        return word
    return named.get(word) or inventory.check_address(word)


def port_of(settings: Settings, word: str, port: int) -> int:
    """Return the ssh port that is meant: the given one, else the entry node's or the machines'."""
    if port or not _is_entry_node(settings, word):
        return port or settings.ssh.port
    return parse_entry_node(settings.ssh.entry_node, settings.ssh.user)[2]


def _is_entry_node(settings: Settings, word: str) -> bool:
    entry = settings.ssh.entry_node
    return bool(entry) and parse_entry_node(entry, settings.ssh.user)[1] == word


def scan(settings: Settings, word: str, port: int = 0) -> list[HostKey]:
    """Return the keys that the host offers, which nothing trusts yet. Raises HostUnreachable.

    It is asked through the entry node, where there is one, unless it is that itself.
    """
    address = address_of(settings, word)
    changes: dict[str, object] = {"port": port_of(settings, word, port)}
    if _is_entry_node(settings, word):
        changes["entry_node"] = ""
    ssh = settings.ssh.model_copy(update=changes)
    with Host(Machine(word, address), ssh, settings.state_path / "known_hosts", login_key(settings)) as host:
        keys = scan_host(host)
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
    return known_hosts.pin(path, address_of(settings, word), port_of(settings, word, port), *keys)
