"""From the servers that a running HAProxy has to those of a plan, without a reload. Pure.

How HAProxy 2.6 does it (https://docs.haproxy.org/2.6/management.html#9.3, and tried):

- a new server starts in maintenance, its check off; once ready it takes requests at once, before its first check;
- only a server in maintenance can be deleted, and not while connections hang on it, so deleting is tried again later;
- maintenance keeps open connections, unless the server cuts them when it goes down (`Backend.cuts`): such a server is
  drained instead, and stays so until the next reload.

Nobody has to read what the commands answer: `show servers state` tells afterwards what is still to be done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argosy.model import Endpoint
from argosy.routing_plan import Backend, Routing, Server

_FORCED_DRAIN = 0x08
_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
_CHECK_CONFIGURED, _CHECK_ENABLED = 0x02, 0x04


@dataclass(frozen=True, slots=True)
class ActualServer:
    """A server as `show servers state` tells of it. `up`: HAProxy would send requests to it, were it not for its
    weight; `unchecked`: it has a check that is not running, except while it is in maintenance."""

    name: str
    endpoint: Endpoint
    weight: int
    up: bool = True
    maintenance: bool = False
    draining: bool = False
    unchecked: bool = False

    @property
    def ready(self) -> bool:
        return not (self.maintenance or self.draining or self.unchecked)


def parse_servers_state(text: str) -> dict[str, dict[str, ActualServer]]:
    """Return the servers by backend and name, from what `show servers state` prints.

    Columns are found by the names in its heading. Raises ValueError for anything else.
    """
    lines = text.strip().splitlines()
    if len(lines) < 2 or lines[0].strip() != "1" or not lines[1].startswith("# "):
        raise ValueError("not HAProxy's servers state, version 1")
    columns = lines[1][2:].split()
    found: dict[str, dict[str, ActualServer]] = {}
    for line in lines[2:]:
        row = dict(zip(columns, line.split(" "), strict=False))
        try:
            found.setdefault(row["be_name"], {})[row["srv_name"]] = _actual(row)
        except KeyError as error:
            raise ValueError(f"HAProxy's servers state has no {error}") from None
    return found


def _actual(row: Mapping[str, str]) -> ActualServer:
    admin, check = int(row["srv_admin_state"]), int(row["srv_check_state"])
    return ActualServer(
        row["srv_name"],
        Endpoint(row["srv_addr"], int(row["srv_port"])),
        int(row["srv_uweight"]),
        up=row["srv_op_state"] == "2",
        maintenance=bool(admin & _MAINTENANCE),
        draining=bool(admin & _FORCED_DRAIN),
        unchecked=bool(check & _CHECK_CONFIGURED) and not check & _CHECK_ENABLED,
    )


def parse_info(text: str) -> dict[str, str]:
    """Return the fields of `show info`."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value for name, colon, value in pairs if colon}


def loaded_structure(info: Mapping[str, str]) -> str:
    """Return the structure of the plan that a HAProxy has loaded; empty if it has not got its configuration from us."""
    key, _, value = info.get("description", "").partition("=")
    return value if key == "structure" else ""


@dataclass(frozen=True, slots=True)
class Change:
    """One deed at one server."""

    backend: str
    server: str

    @property
    def settles(self) -> bool:
        """Whether requests go other ways before it is done; else it only tidies up."""
        return True

    def commands(self) -> list[str]:
        """Return the commands for the runtime API, one a line."""
        raise NotImplementedError

    @property
    def _path(self) -> str:
        return f"{self.backend}/{self.server}"


@dataclass(frozen=True, slots=True)
class AddServer(Change):
    wanted: Server

    def commands(self) -> list[str]:
        return [f"add server {self.backend}/{self.wanted.line}", *_ready(self._path, self.wanted)]

    def __str__(self) -> str:
        return f"{self._path}: add, weight {self.wanted.weight}"


@dataclass(frozen=True, slots=True)
class ReadyServer(Change):
    """Take a server out of maintenance or draining; also one that was added and not made ready."""

    wanted: Server

    def commands(self) -> list[str]:
        return [f"set server {self._path} weight {self.wanted.weight}", *_ready(self._path, self.wanted)]

    def __str__(self) -> str:
        return f"{self._path}: make ready, weight {self.wanted.weight}"


@dataclass(frozen=True, slots=True)
class SetWeight(Change):
    weight: int

    def commands(self) -> list[str]:
        return [f"set server {self._path} weight {self.weight}"]

    def __str__(self) -> str:
        return f"{self._path}: weight {self.weight}"


@dataclass(frozen=True, slots=True)
class DrainServer(Change):
    """Give a server no new connections, and let the open ones go on."""

    def commands(self) -> list[str]:
        return [f"set server {self._path} state drain"]

    def __str__(self) -> str:
        return f"{self._path}: drain"


@dataclass(frozen=True, slots=True)
class RemoveServer(Change):
    """`aside`: it is in maintenance already, so only the deletion is left."""

    aside: bool = False

    @property
    def settles(self) -> bool:
        return not self.aside

    def commands(self) -> list[str]:
        delete = f"del server {self._path}"
        return [delete] if self.aside else [f"set server {self._path} state maint", delete]

    def __str__(self) -> str:
        return f"{self._path}: {'delete' if self.aside else 'remove'}"


def _ready(path: str, server: Server) -> list[str]:
    check = [f"enable health {path}"] if server.checked else []
    return [*check, f"set server {path} state ready"]


def plan_changes(actual: Mapping[str, Mapping[str, ActualServer]], wanted: Routing) -> list[Change]:
    """Return what leads from the servers of a HAProxy that has loaded this plan's structure to those of the plan.

    What is added comes first: a backend is never empty in between. Empty when nothing is to be done; when nothing in
    it `settles` any more, the plan is in effect. Backends that the plan does not have are left alone.
    """
    changes: list[Change] = []
    removals: list[Change] = []
    for backend in wanted.backends.values():
        there = actual.get(backend.name, {})
        changes += _wanted_changes(backend, there)
        removals += _removals(backend, there)
    return changes + removals


def _wanted_changes(backend: Backend, there: Mapping[str, ActualServer]) -> Iterable[Change]:
    for server in backend.servers.values():
        found = there.get(server.name)
        if found is None:
            yield AddServer(backend.name, server.name, server)
        elif not found.ready:
            yield ReadyServer(backend.name, server.name, server)
        elif found.weight != server.weight:
            yield SetWeight(backend.name, server.name, server.weight)


def _removals(backend: Backend, there: Mapping[str, ActualServer]) -> Iterable[Change]:
    for name, found in there.items():
        if name in backend.servers:
            continue
        if not backend.cuts:
            yield RemoveServer(backend.name, name, aside=found.maintenance)
        elif not (found.draining or found.maintenance):
            yield DrainServer(backend.name, name)
