"""The ssh host keys of new servers, taken from the authenticated API and never over the network that they secure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from argosy import gce_record, known_hosts
from argosy.compute import Compute
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import DeadlineExceeded
from argosy.fanout import fan_out, joined
from argosy.gce.host_keys import NAMESPACE, from_attributes, from_console
from argosy.gce_record import Record, ServerRecord
from argosy.operations.gce.listing import Listed

POLL_SECONDS = 2.0


def pin_all(compute: Compute, settings: Settings, servers: Sequence[Listed], report: Report) -> None:
    """Pin the keys of every running server that is new, or was made anew. Idempotent.

    Raises DeadlineExceeded (HostsFailed for several) when a server has told none within gce.boot_deadline_seconds.
    """
    new = {it.name: it for it in servers if it.running and not is_pinned(settings, it)}

    def one(server: Listed) -> None:
        keys = wait_for_keys(compute, settings, server)
        pin(settings, server, keys)
        report(server.name, "host keys pinned, as it told them to the API")

    joined(fan_out(new, one, max_parallel=settings.gce.max_parallel, what="Asking for host keys"))


def is_pinned(settings: Settings, server: Listed) -> bool:
    """Return whether the keys of this very instance are pinned for all of its addresses."""
    record = gce_record.load(settings).servers.get(server.name)
    pinned = known_hosts.read(settings.state_path / "known_hosts")
    there = all(known_hosts.entry_name(address, settings.ssh.port) in pinned for address in _addresses(server))
    return record == _record(server) and there


def pin(settings: Settings, server: Listed, keys: Sequence[str]) -> None:
    """Make `keys` the only ones of the server's addresses, and remember whose they are."""
    path = settings.state_path / "known_hosts"
    settings.state_path.mkdir(parents=True, exist_ok=True)
    for address in _addresses(server):
        known_hosts.pin(path, address, settings.ssh.port, *keys)

    def edit(record: Record) -> None:
        record.servers[server.name] = _record(server)

    gce_record.change(settings, edit)


def forget(settings: Settings, names: Iterable[str]) -> None:
    """Drop what is remembered of servers that are gone, and their keys."""
    path = settings.state_path / "known_hosts"
    gone = list(names)
    record = gce_record.load(settings)
    known = record.servers
    for name in gone:
        for address in filter(None, (known[name].address, known[name].external)) if name in known else ():
            known_hosts.forget(path, address, settings.ssh.port)

    def edit(record: Record) -> None:
        for name in gone:
            record.servers.pop(name, None)
        record.founders = [name for name in record.founders if name not in gone]
        record.leaving = [name for name in record.leaving if name not in gone]
        if record.entry_node in gone:
            record.entry_node = ""

    if set(gone) & {*known, *record.founders, *record.leaving}:
        gce_record.change(settings, edit)


def wait_for_keys(compute: Compute, settings: Settings, server: Listed) -> list[str]:
    """Return the server's keys as soon as it has told them: its guest attributes, else its serial console."""
    deadline = time.monotonic() + settings.gce.boot_deadline_seconds
    pause = threading.Event()
    while True:
        found = from_attributes(compute.guest_attributes(server.name, NAMESPACE))
        found = found or from_console(compute.serial_console(server.name))
        if found:
            return found
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"{server.name} has not told its ssh host keys within {settings.gce.boot_deadline_seconds:g} s, as "
                "guest attributes or on its serial console; see what it says there: "
                f"gcloud compute instances get-serial-port-output {server.name}"
            )
        pause.wait(POLL_SECONDS)


def _addresses(server: Listed) -> list[str]:
    return [address for address in (server.address, server.external) if address]


def _record(server: Listed) -> ServerRecord:
    return ServerRecord(id=server.id, address=server.address, external=server.external)
