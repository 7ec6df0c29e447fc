"""The ssh host keys of new servers, taken from the authenticated API and never over the network that they secure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.errors import DeadlineExceeded
from argosy.fanout import fan_out, joined
from argosy.gce import record as gce_record
from argosy.gce.compute.client import Compute
from argosy.gce.listing import Listed
from argosy.gce.plan.host_keys import NAMESPACE, from_attributes, from_console
from argosy.gce.record import ServerRecord
from argosy.model import Machine
from argosy.report import Report
from argosy.ssh import pins

POLL_SECONDS = 2.0


def pin_all(compute: Compute, settings: Settings, servers: Sequence[Listed], report: Report) -> None:
    """Pin the keys of every running server that is new, or was made anew. Idempotent.

    Raises DeadlineExceeded (HostsFailed for several) when a server has told none within gce.boot_deadline_seconds.
    """
    new = {server.name: server for server in servers if server.running and not is_pinned(settings, server)}

    def one(server: Listed) -> None:
        keys = wait_for_keys(compute, settings, server)
        pin(settings, server, keys)
        report(server.name, "host keys pinned, as it told them to the API")

    joined(fan_out(new, one, max_parallel=settings.gce.max_parallel, what="Asking for host keys"))


def is_pinned(settings: Settings, server: Listed) -> bool:
    """Return whether the keys of this very instance are pinned for all of its addresses."""
    record = gce_record.load(settings).servers.get(server.name)
    there = all(pins.pinned(settings, Machine(server.name, address)) for address in _addresses(server))
    return record == _record(server) and there


def pin(settings: Settings, server: Listed, keys: Sequence[str]) -> None:
    """Make `keys` the only ones of the server's addresses, and remember whose they are."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    for address in _addresses(server):
        pins.pin(settings, Machine(server.name, address), *keys)
    with gce_record.changing(settings) as record:
        record.servers[server.name] = _record(server)


def forget(settings: Settings, names: Iterable[str]) -> None:
    """Drop what is remembered of servers that are gone, and their keys."""
    gone = list(names)
    record = gce_record.load(settings)
    known = record.servers
    if not set(gone) & {*known, *record.founders, *record.leaving}:
        return
    for name in gone:
        for address in filter(None, (known[name].address, known[name].external)) if name in known else ():
            pins.forget(settings, Machine(name, address))
    with gce_record.changing(settings) as record:
        for name in gone:
            record.servers.pop(name, None)
        record.founders = [name for name in record.founders if name not in gone]
        record.leaving = [name for name in record.leaving if name not in gone]
        if record.entry_node in gone:
            record.entry_node = ""


def wait_for_keys(compute: Compute, settings: Settings, server: Listed) -> list[str]:
    """Return the server's keys as soon as it has told them: its guest attributes, else its serial console."""
    seconds = settings.gce.boot_deadline_seconds

    def keys() -> list[str]:
        found = from_attributes(compute.guest_attributes(server.name, NAMESPACE))
        return found or from_console(compute.serial_console(server.name))

    found = wait_until(keys, seconds, every=POLL_SECONDS)
    if not found:
        raise DeadlineExceeded(
            f"{server.name} has not told its ssh host keys within {seconds:g} s, as guest attributes or on its serial "
            "console; see what it says there: "
            f"gcloud compute instances get-serial-port-output {server.name}"
        )
    return found


def _addresses(server: Listed) -> list[str]:
    return [address for address in (server.address, server.external) if address]


def _record(server: Listed) -> ServerRecord:
    return ServerRecord(id=server.id, address=server.address, external=server.external)
