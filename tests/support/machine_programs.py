"""The programs of a machine, run by this host's shell with their folders moved to one of the test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fake_host import FakeMachine
from machine_examples import config

FOLDERS = ("/etc/air", "/var/lib/air", "/opt/air", "/run/air", "/etc/systemd/system")


class Place(FakeMachine):
    """A machine with the files of its cloud-config."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for file in config().files:
            if file.path.startswith(FOLDERS):
                self.write(file.path, self.moved(file.content, FOLDERS), file.mode)
        self.path("/var/lib/air").mkdir(parents=True)
        self.path("/run").mkdir()

    def do(self, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the machine's own programs."""
        return self.run(["sh", self.path(f"/opt/air/bin/{name}"), *words], env=environment)
