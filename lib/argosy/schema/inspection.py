"""Pure. What Docker says of containers, as far as the registrar needs it.

Source: https://docs.docker.com/reference/api/engine/version/v1.41/ (ContainerInspect, SystemEvents).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]

BEGINNINGS = frozenset({"start", "unpause"})
ENDS = frozenset({"die", "stop", "pause", "destroy"})
ACTIONS = BEGINNINGS | ENDS | {"kill", "rename", "health_status"}
"""The events that matter; others, such as those of each command that is run in a container, are many."""

DEADLY = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGKILL})
"""Signals by which somebody means to end a container, whatever its own stop signal may be; SIGHUP and SIGQUIT are sent
to reload and to dump."""
LINUX_RTMIN = 34


@dataclass(frozen=True, slots=True)
class Container:
    """`started`: tells one run from the next; `running`: it can work, so not while paused or between two restarts;
    `health`: starting, healthy, unhealthy, or empty without a HEALTHCHECK; `shared`: it uses the network of another
    container; `exposed`: TCP ports; `published`: container port -> (address, port) of the machine;
    `address`: where the machine itself reaches it, empty when it does not."""

    id: str
    name: str
    started: str
    running: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    stop_signal: int = signal.SIGTERM
    host_network: bool = False
    shared: bool = False
    exposed: tuple[int, ...] = ()
    published: Mapping[int, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    address: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """`signal`: of a `kill`, else 0."""

    action: str
    container: str
    signal: int = 0


def parse_container(inspected: Json) -> Container:
    """Return what `docker inspect` (one object of it) says. Raises ValueError when Docker says something else."""
    try:
        return _container(inspected)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"Docker describes it in a way that we don't know ({type(error).__name__}: {error})") from None


def _container(inspected: Json) -> Container:
    state, config = inspected["State"], inspected["Config"]
    mode = inspected["HostConfig"]["NetworkMode"]
    settings = inspected["NetworkSettings"]
    ports = settings.get("Ports") or {}
    health = (state.get("Health") or {}).get("Status", "")
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].removeprefix("/"),
        started=state["StartedAt"],
        running=bool(state["Running"]) and not state.get("Paused") and not state.get("Restarting"),
        labels=dict(config.get("Labels") or {}),
        health="" if health == "none" else health,
        stop_signal=parse_signal(config.get("StopSignal") or "") or signal.SIGTERM,
        host_network=mode == "host",
        shared=mode.startswith("container:"),
        exposed=_tcp_ports({**(config.get("ExposedPorts") or {}), **ports}),
        published={
            _port(name): tuple((binding["HostIp"], int(binding["HostPort"])) for binding in bindings)
            for name, bindings in ports.items()
            if bindings and name.endswith("/tcp")
        },
        address=_address(settings.get("Networks") or {}),
    )


def _tcp_ports(names: Mapping[str, object]) -> tuple[int, ...]:
    return tuple(sorted(_port(name) for name in names if name.endswith("/tcp")))


def _port(name: str) -> int:
    """Return the number of `80/tcp`."""
    return int(name.partition("/")[0])


def _address(networks: Mapping[str, Json]) -> str:
    """Return the address on a bridge: of the default one, else of the first by name.

    The machine has an address, the gateway, on each bridge. It has none on an overlay network, and can't reach that.
    """
    names = sorted(networks, key=lambda name: (name != "bridge", name))
    for name in names:
        for gateway, address in (("Gateway", "IPAddress"), ("IPv6Gateway", "GlobalIPv6Address")):
            if networks[name].get(gateway) and networks[name].get(address):
                return str(networks[name][address])
    return ""


def parse_signal(text: str) -> int:
    """Return the number of a signal as Docker takes it: SIGTERM, TERM, 15, SIGRTMIN+3; 0 for what is none.

    On the host that this runs on, but for SIGRTMIN, which is always Linux's: others have none.
    """
    name, plus, offset = text.upper().removeprefix("SIG").partition("+")
    if name.isdecimal():
        return int(name)
    try:
        number = LINUX_RTMIN if name == "RTMIN" else signal.Signals[f"SIG{name}"]
        return number + (int(offset) if plus else 0)
    except (KeyError, ValueError):
        return 0


def parse_event(told: Json) -> Event | None:
    """Return one event of the stream, None for one that does not matter here."""
    action = str(told.get("Action", "")).partition(":")[0]  # "health_status: healthy"
    actor = told.get("Actor") or {}
    if told.get("Type") != "container" or action not in ACTIONS or not actor.get("ID"):
        return None
    number = str((actor.get("Attributes") or {}).get("signal", ""))
    return Event(action, str(actor["ID"]), int(number) if number.isdecimal() else 0)


def ends(event: Event, stop_signal: int) -> bool:
    """Return whether the container is ending by this event, or meant to."""
    return event.action in ENDS or (event.action == "kill" and event.signal in DEADLY | {stop_signal})
