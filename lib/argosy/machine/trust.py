"""Pin the ssh host keys of machines on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from argosy import inventory
from argosy.config.loading import Settings, SshTarget
from argosy.errors import ConfigError, HostKeyMismatch, HostUnreachable
from argosy.fanout import fan_out, joined
from argosy.model import Machine
from argosy.ssh import known_hosts, pins
from argosy.ssh.connecting import scan as scan_host
from argosy.ssh.host import Host
from argosy.ssh.identity import login_key, parse_entry_node
from argosy.ssh.known_hosts import HostKey


@dataclass(frozen=True, slots=True)
class Offer:
    """The keys by which a host is to be known. `word`: what the operator calls it; `pinned`: those that are so now."""

    word: str
    host: str
    port: int
    keys: tuple[HostKey, ...]
    pinned: tuple[HostKey, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether these keys, and no others, are pinned already."""
        return set(self.keys) == set(self.pinned)

    @property
    def lines(self) -> list[str]:
        """Return the keys for people, and what is pinned in their place."""
        lines = [f"{self.word} {key.type} {key.fingerprint}" for key in self.keys]
        if gone := [key for key in self.pinned if key not in self.keys]:
            lines.append(f"{self.word} was known by {', '.join(key.fingerprint for key in gone)}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return `{"machine", "host", "port", "keys": [{"type", "fingerprint"}], "trusted": bool before this}`."""
        keys = [{"type": key.type, "fingerprint": key.fingerprint} for key in self.keys]
        return {"machine": self.word, "host": self.host, "port": self.port, "keys": keys, "trusted": self.trusted}


def offers(settings: Settings, words: Sequence[str], port: int = 0, fingerprints: Sequence[str] = ()) -> list[Offer]:
    """Return what the hosts offer, which nothing trusts yet; all are asked at once.

    `words`: addresses, names of machines, the entry node; `port`: 0 for each one's own; `fingerprints`: none, or one a
    word, in their order. Raises ConfigError, HostUnreachable and HostKeyMismatch for one host, HostsFailed for
    several.
    """
    if not words:
        raise ConfigError("give the address or name of each machine to trust", "machines")
    if fingerprints and len(fingerprints) != len(words):
        raise ConfigError(f"give one for each of the {len(words)} machines, in their order", "fingerprint")
    wanted = dict(zip(words, fingerprints, strict=True)) if fingerprints else dict.fromkeys(words, "")
    targets = {word: _target(settings, word, port) for word in wanted}
    _refuse_same(targets.values())

    def one(target: tuple[Machine, SshTarget]) -> Offer:
        machine, ssh = target
        keys = choose(_scan(settings, machine, ssh), wanted[machine.name], machine.name)
        known = known_hosts.read(pins.path(settings)).get(known_hosts.entry_name(ssh.host, ssh.port), ())
        return Offer(machine.name, ssh.host, ssh.port, tuple(keys), known)

    found = joined(fan_out(targets, one, max_parallel=settings.ssh.max_parallel, what="Asking for host keys"))
    return [found[word] for word in wanted]


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


def pin(settings: Settings, offer: Offer) -> bool:
    """Make these the host's only keys in the cluster's known_hosts. Idempotent: returns whether it changed."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    return known_hosts.pin(pins.path(settings), offer.host, offer.port, *offer.keys)


def _target(settings: Settings, word: str, port: int) -> tuple[Machine, SshTarget]:
    """Return what `word` means (an address, a machine's name, the name of its ssh server, the entry node), under that
    name, and how it is reached; `port`: 0 for its own."""
    if settings.ssh.entry_node:
        user, entry, own_port = parse_entry_node(settings.ssh.entry_node, settings.ssh.user)
        if entry == word:
            own = {"user": user, "host": entry, "port": port or own_port, "entry_node": ""}
            return Machine(word, word), SshTarget.model_construct(**{**dict(settings.ssh), **own})
    named = {machine.name: machine.address for machine in inventory.load(settings)}
    for name, entry_of in settings.machines.items():
        named[name] = entry_of.address
        if entry_of.ssh.host:
            named.setdefault(entry_of.ssh.host, entry_of.address)
    address = named.get(word) or (word if word in named.values() else inventory.check_address(word))
    target = settings.ssh_of(Machine(word, address))
    return Machine(word, address), target.model_copy(update={"port": port or target.port})


def _refuse_same(targets: Iterable[tuple[Machine, SshTarget]]) -> None:
    words: dict[tuple[str, int], str] = {}
    for machine, ssh in targets:
        other = words.setdefault((ssh.host, ssh.port), machine.name)
        if other != machine.name:
            raise ConfigError(f"it is the same as {other}", machine.name)


def _scan(settings: Settings, machine: Machine, ssh: SshTarget) -> list[HostKey]:
    """Return the keys that the host offers, through the entry node where there is one. Raises HostUnreachable."""
    with Host(machine, ssh, pins.path(settings), login_key(settings)) as host:
        keys = scan_host(host)
    if not keys:
        raise HostUnreachable(machine.name, f"the ssh server at {host.where} offers no key of a kind that we know")
    return keys
