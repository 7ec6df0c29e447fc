"""A second try for machines whose install failed: what a person expects who has repaired the cause and starts again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argosy.config import Settings
from argosy.host import Host, Hosts, joined
from argosy.machine_files import Names, release_env
from argosy.model import Image, Machine
from argosy.operations.local.work import Work
from argosy.remote_shell import Script

OBSERVE = """\
set -u
system=$1
units=$(systemctl show --property=ActiveState --value "$system-installer.service" "$system-secrets.service")
printf 'units %s\\n' "$(echo $units)"
if [ -e "/etc/$system/secrets/.complete" ]; then echo marker; fi
cat "/etc/$system/release.env" "/var/lib/$system/release.env" 2>/dev/null | sed -n 's/^RELEASE_VERSION=/release /p'
if [ -e "/var/lib/$system/install.json" ]; then printf 'record '; cat "/var/lib/$system/install.json"; fi
"""
RETRY = """\
set -eu
rm -f -- "/var/lib/$1/install.json"
systemctl restart --no-block "$1-installer.service"
"""
"""$1: the system. The old result goes first, so that nobody takes it for the new one."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How far a machine's install got. `over`: nothing goes on by itself; `release`: the version it is to install."""

    active: bool
    over: bool
    release: str


def parse(output: str) -> Tried:
    """Read what OBSERVE printed; the last release named is the one that counts."""
    units: list[str] = []
    marker, release, state = False, "", ""
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word == "units":
            units = rest.split()
        elif word == "marker":
            marker = True
        elif word == "release":
            release = rest
        elif word == "record":
            state = _state(rest)
    over = marker and "activating" not in units and state != "active"
    return Tried(active=state == "active", over=over, release=release)


def observe(hosts: Hosts, settings: Settings, machines: Sequence[Machine]) -> dict[str, Tried]:
    """Return how far the installs of those machines got that can be asked."""
    script = Script("look at the install", OBSERVE, settings.system)
    outcomes = hosts.each(lambda host: parse(host.run(script, sudo=True).stdout), machines, what="Looking at installs")
    return {name: outcome.get() for name, outcome in outcomes.items() if outcome.ok}


def tried(work: Work) -> dict[str, Tried]:
    """Return the same for the machines of a run that were there when it began."""
    existing = [machine for machine in work.machines if machine not in work.absent]
    if not existing:
        return {}
    with Hosts(work.settings, existing) as hosts:
        return observe(hosts, work.settings, existing)


def names_of_failed(tried: Mapping[str, Tried]) -> list[str]:
    return [name for name, it in tried.items() if it.over]


def wanted_release(tried: Mapping[str, Tried], remembered: Image, newest: Image) -> Image:
    """Return what failed machines shall install: the newest release, as long as none serves with the one remembered."""
    return remembered if any(it.active for it in tried.values()) else newest


def again(hosts: Hosts, settings: Settings, machines: Sequence[Machine], release: Image) -> None:
    """Let these machines install `release`, from the start. Returns when they have begun."""
    state = Names(settings.system).state
    text = "".join(f"{key}={value}\n" for key, value in release_env(settings, release).items())

    def one(host: Host) -> None:
        host.put_bytes(text.encode(), f"{state}/release.env", sudo=True)
        host.run(Script("install again", RETRY, settings.system), sudo=True)

    joined(hosts.each(one, machines, what="Installing again"))


def _state(text: str) -> str:
    try:
        record = json.loads(text)
    except ValueError:
        return ""
    return str(record.get("state", "")) if isinstance(record, dict) else ""
