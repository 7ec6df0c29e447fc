"""Pure. docs/support.md: what is supported and proven, from what the tests found: each lane's (tests/e2e/support.json),
and the virtual machine's (tests/vm/proven.json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = """\
# What is supported, and proven

A row is a lane: Debian's suite, and with it the versions of all else. Every version here was read on the machines and
their host by the tests that use them (`inv test --only matrix`), and `inv docs` wrote this page from it.
Where the last run is "not yet", the versions are those of the packages, and nothing has proven the row.

"""
COLUMNS = (
    ("provisioning host", "host", "os"), ("its Docker", "host", "docker"), ("its cgroup", "host", "cgroup"),
    ("its Python", "host", "python"), ("machines", "machine", "os"), ("Docker", "machine", "docker"),
    ("cgroup", "machine", "cgroup"), ("HAProxy", "machine", "haproxy"), ("etcd", "machine", "etcd"),
    ("Python", "machine", "python"),
)  # fmt: skip
TAIL = """
On the lane `newest`, whose suite gets other versions all the time, Docker acts as Docker 29 does: images are in
containerd's store, and no API before 1.44 is answered.

Each run of all tests (`make test`) proves every lane: the journeys are shared out over Debian 12 and 13, and a short
day (setup, rolling upgrade, service update, backup) is spent on what comes next. The unit tests run on Python 3.11 and
3.13. All journeys on every lane:

"""

VIRTUAL = """
What a container shares with its host is proven on a virtual machine, which boots with the file of `inv
cluster.cloud-config`: kernel, cgroup controllers (a memory limit that holds), AppArmor, systemd-resolved, netplan, swap
and a reboot (`inv test --only vm`).

"""
VIRTUAL_COLUMNS = (
    ("machine", "os"), ("kernel", "kernel"), ("systemd", "systemd"), ("cloud-init", "cloud-init"), ("Docker", "docker"),
    ("cgroup", "cgroup"), ("HAProxy", "haproxy"), ("etcd", "etcd"), ("Python", "python"), ("last run", "day"),
)  # fmt: skip


def render_support(found: Mapping[str, Mapping[str, Any]], virtual: Mapping[str, str]) -> str:
    """Return the page. `found`: for each lane `host` and `machine` (versions), `journeys` and the `day`; `virtual`: the
    versions of the virtual machine, and its `day`."""
    titles = ["lane", *(title for title, _, _ in COLUMNS)]
    rows = [[lane, *(entry[where][what] for _, where, what in COLUMNS)] for lane, entry in found.items()]
    journeys = list(dict.fromkeys(name for entry in found.values() for name in entry["journeys"]))
    proven = [
        [lane, *("yes" if name in entry["journeys"] else "-" for name in journeys), entry["day"]]
        for lane, entry in found.items()
    ]
    page = HEAD + _table(titles, rows) + TAIL + _table(["lane", *journeys, "last run"], proven)
    machine = [[virtual[what] for _, what in VIRTUAL_COLUMNS]]
    return page + VIRTUAL + _table([title for title, _ in VIRTUAL_COLUMNS], machine)


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
