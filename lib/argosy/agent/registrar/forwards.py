"""Ports of this machine that lead to containers which only the bridge reaches.

The registrar says which containers need one; the router listens on `mapping()` and tells `note_applied` once it does.
A container keeps its port by its name, over restarts of it and of the agent. A port whose container is gone rests until
no other is free, the one that has rested longest being taken first: some router may still send requests there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.agent import remembered
from argosy.agent.log import log
from argosy.agent.router.ports import taken_ports
from argosy.model import Endpoint
from argosy.schema import parse_endpoint

_log = log("forwards")


@dataclass(frozen=True, slots=True)
class Forward:
    """`port`: on this machine; `target`: None while the container does not run."""

    port: int
    target: Endpoint | None


def is_free(port: int) -> bool:
    """Return whether nothing on this machine listens on `port`."""
    return not taken_ports([port])


def choose_port(
    forwards: Mapping[str, Forward], ports: tuple[int, int], free: Callable[[int], bool]
) -> tuple[int, str]:
    """Return a port of `ports` (first and last) and the name of the forward that loses it, usually none. 0: none left.

    `forwards`: those at rest in the order in which they were released.
    """
    used = {forward.port for forward in forwards.values()}
    unused = (port for port in range(ports[0], ports[1] + 1) if port not in used)
    chosen = next((port for port in unused if free(port)), 0)
    if chosen:
        return chosen, ""
    resting = ((forward.port, name) for name, forward in forwards.items() if forward.target is None)
    return next((found for found in resting if free(found[0])), (0, ""))


class Forwards:
    """May be used by several threads. Callbacks are called by the one that changes it; they must be quick."""

    def __init__(self, path: Path, ports: tuple[int, int], free: Callable[[int], bool] = is_free) -> None:
        """`path`: where it is remembered, 0600, its folder must exist: JSON, in the order of their release,
        [{"container": "web", "port": 20000, "target": "172.17.0.2:80" or null, "applied": true}, ...].

        `ports`: the first and the last one to use; `free`: whether nothing else listens on a port.
        """
        self._path = path
        self._ports = ports
        self._free = free
        self._turn = threading.RLock()
        self._subscribers: list[Callable[[], None]] = []
        self._forwards, self._applied = _read(path, ports)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `mapping()` has changed or was applied."""
        with self._turn:
            self._subscribers.append(callback)

    def mapping(self) -> dict[int, Endpoint]:
        """Return where each port leads to; complete from the start of the agent on.

        What is not in it is not applied from here on: the router is about to stop listening there, and when it has is
        known only when it tells again.
        """
        with self._turn:
            found = {forward.port: forward.target for forward in self._forwards.values() if forward.target is not None}
            self._applied = {port: target for port, target in self._applied.items() if found.get(port) == target}
            return found

    def note_applied(self, mapping: Mapping[int, Endpoint]) -> None:
        """The router tells that it listens on exactly these ports.

        It does so after each round that began with `mapping()`, changed or not: the registrar may wait for it.
        """
        with self._turn:
            if self._applied == dict(mapping):
                return
            self._applied = dict(mapping)
            self._changed()

    def ensure(self, container: str, target: Endpoint) -> int:
        """Return the port that must lead to `target`, 0 when all are taken. The router may not know it yet."""
        with self._turn:
            before = self._forwards.get(container)
            if before is not None and before.target == target:
                return before.port
            port = before.port if before else self._allocate()
            if port:
                self._forwards[container] = Forward(port, target)
                self._changed()
            return port

    def applied_port(self, container: str, target: Endpoint) -> int:
        """Return the port that leads to `target` already, 0 for none."""
        with self._turn:
            found = self._forwards.get(container)
            if found is None or found.target != target or self._applied.get(found.port) != target:
                return 0
            return found.port

    def rename(self, old: str, new: str) -> None:
        """Keep the port of a container that has another name now."""
        with self._turn:
            if old in self._forwards:
                self._forwards[new] = self._forwards.pop(old)
                self._changed()

    def keep(self, running: set[str]) -> None:
        """Let the ports of all other containers lead nowhere; they stay theirs as long as there are enough."""
        with self._turn:
            ended = [
                name for name, forward in self._forwards.items() if forward.target is not None and name not in running
            ]
            for name in ended:
                port = self._forwards.pop(name).port
                self._forwards[name] = Forward(port, None)
                # Whether the router has it still, nobody knows until it tells again.
                self._applied.pop(port, None)
            if ended:
                self._changed()

    def _allocate(self) -> int:
        port, loser = choose_port(self._forwards, self._ports, self._free)
        if loser:
            del self._forwards[loser]
        return port

    def _changed(self) -> None:
        content = [
            {
                "container": name,
                "port": forward.port,
                "target": None if forward.target is None else str(forward.target),
                "applied": forward.target is not None and self._applied.get(forward.port) == forward.target,
            }
            for name, forward in self._forwards.items()
        ]
        remembered.write(self._path, content, _log, "may choose other ports")
        for callback in self._subscribers:
            callback()


def _read(path: Path, ports: tuple[int, int]) -> tuple[dict[str, Forward], dict[int, Endpoint]]:
    """Return the forwards that are remembered and what the router had applied of them; nothing of a broken file."""

    def parse(found: Any) -> tuple[dict[str, Forward], dict[int, Endpoint]]:
        mapped = [(str(kept["container"]), int(kept["port"]), kept["target"], kept["applied"]) for kept in found]
        forwards = {
            name: Forward(port, parse_endpoint(target) if target else None)
            for name, port, target, _ in mapped
            if ports[0] <= port <= ports[1]
        }
        return forwards, {port: parse_endpoint(target) for _, port, target, applied in mapped if applied and target}

    return remembered.read(path, parse, _log, "choosing ports anew") or ({}, {})
