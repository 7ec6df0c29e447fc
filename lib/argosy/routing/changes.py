"""Pure. From the servers that a running HAProxy has to those of a plan, without a reload.

How HAProxy 2.6 to 3.4 do it (https://docs.haproxy.org/2.6/management.html#9.3, and tried):

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
from argosy.routing.values import Backend, Routing

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
    """One write at one server. `path`: BACKEND/SERVER; `what`: for people; `commands`: for the runtime API, in order;
    `settles`: requests go other ways before it is done, else it only tidies up."""

    path: str
    what: str
    commands: tuple[str, ...]
    settles: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


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
        if found is not None and found.ready and found.weight == server.weight:
            continue
        path, weight = f"{backend.name}/{server.name}", f"weight {server.weight}"
        check = [f"enable health {path}"] if server.checked else []
        ready = [*check, f"set server {path} state ready"]
        if found is None:
            yield Change(path, f"add, {weight}", (f"add server {backend.name}/{server.line}", *ready))
        elif not found.ready:  # in maintenance, draining, or added and not made ready
            yield Change(path, f"make ready, {weight}", (f"set server {path} {weight}", *ready))
        else:
            yield Change(path, weight, (f"set server {path} {weight}",))


def _removals(backend: Backend, there: Mapping[str, ActualServer]) -> Iterable[Change]:
    for name, found in there.items():
        if name in backend.servers:
            continue
        path = f"{backend.name}/{name}"
        delete = f"del server {path}"
        if not backend.cuts and found.maintenance:
            yield Change(path, "delete", (delete,), settles=False)
        elif not backend.cuts:
            yield Change(path, "remove", (f"set server {path} state maint", delete))
        elif not (found.draining or found.maintenance):
            # No new connections, and the open ones continue.
            yield Change(path, "drain", (f"set server {path} state drain",))
