"""A second try for machines whose install failed: what a person expects who has repaired the cause and starts again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy.cloudconfig.files import env_file, release_env
from argosy.config.loading import Settings
from argosy.fanout import Outcomes, joined
from argosy.machine.install_progress import LOOK, State, parse_state
from argosy.model import Image, Machine
from argosy.paths import Names
from argosy.ssh.host import Host, Hosts
from argosy.ssh.shell import Script

RETRY = """\
set -eu
rm -f -- "/var/lib/$1/install.json"
systemctl restart --no-block "$1-installer.service"
"""
"""$1: the system. The old result goes first, so that nobody takes it for the new one."""


def asked(hosts: Hosts, settings: Settings, machines: Iterable[Machine] | None = None) -> Outcomes[State | None]:
    """Return how far the installs of these machines got, or of all; None for one that told something else."""
    script = Script("look at the install", LOOK, settings.system)

    def one(host: Host) -> State | None:
        return parse_state(host.run(script, sudo=True).stdout.rstrip("\n"))

    return hosts.each(one, machines, what="Looking at installs")


def choose(hosts: Hosts, settings: Settings, machines: Sequence[Machine], release: Image) -> None:
    """Let these machines install `release` when they begin, whatever they were told before. Idempotent."""
    state, text = Names(settings.system).state, env_file(release_env(settings, release))

    def one(host: Host) -> None:
        host.run(["mkdir", "-p", "--", state], sudo=True)
        host.put_bytes(text.encode(), f"{state}/release.env", sudo=True)

    joined(hosts.each(one, machines, what="Choosing the release"))


def again(hosts: Hosts, settings: Settings, machines: Sequence[Machine], release: Image) -> None:
    """Let these machines install `release`, from the start. Returns when they have begun."""
    choose(hosts, settings, machines, release)
    script = Script("install again", RETRY, settings.system)
    joined(hosts.each(lambda host: host.run(script, sudo=True), machines, what="Installing again"))
