"""A machine that can be told how its install goes: a real sshd, on which /etc, /var/lib, /opt, systemctl and journalctl
are the test's own, in a mount namespace that leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssh_server import SshServer, ssh_server

from argosy.config.loading import Settings, load
from argosy.model import Machine

SYSTEM = "air"
RELEASE = "0.1.3"

OVERLAY = """
set -e
cp -a /etc "$0/etc.all"
cp -a "$0/etc/." "$0/etc.all/"
mount --bind "$0/etc.all" /etc
mount --bind "$0/lib" /var/lib
mount --bind "$0/opt" /opt
for name in systemctl journalctl; do mount --bind "$0/$name" "$(command -v $name)"; done
{mounts}
exec "$@"
"""

SYSTEMCTL = """\
#!/bin/sh
case $* in
    *is-system-running*) cat {folder}/running ;;
    *InactiveExitTimestamp*) ;;
    "show air-installer.service") sed -n '1s/^/ActiveState=/p' {folder}/units ;;
    *ActiveState*) cat {folder}/units ;;
esac
"""

# Follows the file `journal`, one entry a line; without --follow it prints the file `tail`. It says that it was asked
# when it knows where it begins: what comes after that is shown.
JOURNALCTL = """\
#!/bin/sh
after=0
case $* in *--lines=0*) after=$(wc -l <{folder}/journal) ;; esac
echo "$*" >>{folder}/asked
case $* in *--follow*) ;; *) exec cat {folder}/tail ;; esac
for word in "$@"; do case $word in --after-cursor=*) after=${{word#*=}} ;; esac; done
exec tail --follow --lines=+$((after + 1)) {folder}/journal
"""


@dataclass
class InstallingMachine:
    """`server` serves it; the files in `folder` are what it says."""

    folder: Path
    server: SshServer
    entries: int = 0

    @property
    def settings(self) -> Settings:
        ssh = {"user": "root", "port": self.server.port, "key": str(self.server.key), "connect_attempts": 1}
        root = self.folder / "project"
        pins = root / ".argosy" / "test" / "known_hosts"
        pins.parent.mkdir(parents=True, exist_ok=True)
        pins.write_bytes(self.server.pins.read_bytes())
        return load({"clusters": {"test": {"ssh": ssh}}}, root=root)

    @property
    def machines(self) -> list[Machine]:
        return [Machine(f"air-{number:02}", address) for number, address in enumerate(self.server.addresses, 1)]

    def units(self, installer: str, secrets: str = "active") -> None:
        _replace(self.folder / "units", f"{installer}\n\n{secrets}\n")

    def boots(self, booting: bool) -> None:
        _replace(self.folder / "running", "starting\n" if booting else "running\n")

    def record(self, state: str, **content: Any) -> None:
        known = {"state": state, "release": RELEASE, "machine": "air-01", "seconds": 2.5, "failed": []}
        _replace(self.folder / "lib" / SYSTEM / "install.json", json.dumps(known | content))

    def status(self, **content: Any) -> None:
        _replace(self.folder / "status", json.dumps(content))

    def says(self, message: str, unit: str = "installer") -> None:
        """Add an entry to the journal; its cursor is its number."""
        self.entries += 1
        fields = {"__CURSOR": str(self.entries), "MESSAGE": message, "_SYSTEMD_UNIT": f"{SYSTEM}-{unit}.service"}
        with (self.folder / "journal").open("a") as journal:
            journal.write(json.dumps(fields | {"_PID": "99"}) + "\n")

    def asked(self) -> list[str]:
        """Return the arguments of every call of journalctl."""
        return (self.folder / "asked").read_text().splitlines()


@contextmanager
def installing_machine(
    folder: Path, addresses: tuple[str, ...] = ("127.0.0.1",), mounts: str = ""
) -> Iterator[InstallingMachine]:
    """Give a machine that waits for nothing and has installed nothing yet. `mounts`: lines of shell that mount more."""
    for name in ("etc", "lib", "opt"):
        (folder / name / SYSTEM).mkdir(parents=True)
    (folder / "etc" / SYSTEM / "release.env").write_text(f"RELEASE_VERSION={RELEASE}\n")
    (folder / "etc" / SYSTEM / "secrets").mkdir()
    (folder / "etc" / SYSTEM / "secrets" / ".complete").touch()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        _program(folder / name, text.format(folder=folder))
    (folder / "opt" / SYSTEM / "bin").mkdir()
    _program(folder / "opt" / SYSTEM / "bin" / SYSTEM, f"#!/bin/sh\ncat {folder}/status\n")
    for name in ("journal", "tail", "asked", "units"):
        (folder / name).touch()
    wrapper = ["unshare", "--mount", "sh", "-c", OVERLAY.format(mounts=mounts), str(folder)]
    with ssh_server(folder / "sshd", addresses=addresses, wrapper=wrapper, user="root") as server:
        machine = InstallingMachine(folder, server)
        machine.boots(False)
        machine.units("inactive")
        machine.status(state="installing")
        yield machine


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _replace(path: Path, text: str) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(text)
    aside.replace(path)
