"""Hosts of the tests' own. Each takes the commands that a test declares; any other fails the test.

`FakeHosts` with its `FakeHost`s is to an operation what `Hosts` is: a function of the test answers each command.
`FakeMachine` is to a script what a machine is: it runs in a real shell, which finds the machine's programs (docker,
systemctl, ...) only where the test declares them, and its folders in a temporary one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from argosy.errors import CommandFailed, HostUnreachable
from argosy.fanout import Outcomes, fan_out
from argosy.model import Machine
from argosy.ssh.commands import Result
from argosy.ssh.shell import Script

Answer = Callable[[Sequence[str]], str | None]
"""Gives what a command prints, from its words; of a script only those behind its text. Raises CommandFailed."""


class FakeHost:
    """`answers`: by the title of a script or the words of a command. `asked`: what it was sent, in order; `codes`: of
    those that end with another exit code than 0. `up`: ssh answers; it shows no host key that could be noted."""

    is_connected = False

    def __init__(self, machine: Machine, answers: Mapping[str, Answer] | None = None) -> None:
        self.machine = machine
        self.name = machine.name
        self.answers = dict(answers or {})
        self.asked: list[str] = []
        self.codes: dict[str, int] = {}
        self.up = True

    def connect(self) -> None:
        if not self.up:
            raise HostUnreachable(self.name, "no ssh connection")

    def wait_for_login(self, _seconds: float) -> None:
        self.connect()

    def run(self, command: Sequence[str], *, check: bool = True, **_options: object) -> Result:
        self.connect()
        title = self.title(command)
        answer = self.answers.get(title)
        assert answer is not None, f"{self.name} does not know this command: {title}"
        self.asked.append(title)
        code = self.codes.get(title, 0)
        told, refused = ("", "no, thank you\n") if code else (answer(_arguments(command)) or "", "")
        result = Result(self.name, title, told, refused, code, 0.0)
        if check and code:
            raise CommandFailed(f"{self.name}: {title} ended with {code}", result)
        return result

    def title(self, command: Sequence[str]) -> str:
        """Return what `answers` and `asked` call the command."""
        return command.title if isinstance(command, Script) else " ".join(command)


def _arguments(command: Sequence[str]) -> Sequence[str]:
    return command[4:] if isinstance(command, Script) else command


HostT = TypeVar("HostT", bound=FakeHost)


class FakeHosts(Generic[HostT]):
    """What `Hosts` is to the operations. `cancelled`: they were told to give up."""

    def __init__(self, hosts: Iterable[HostT]) -> None:
        self.machines = {host.name: host for host in hosts}
        self.cancelled = False

    def __enter__(self) -> FakeHosts[HostT]:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[HostT]:
        return iter(self.machines.values())

    def __getitem__(self, machine: Machine | str) -> HostT:
        return self.machines[machine if isinstance(machine, str) else machine.name]

    def each(
        self,
        function: Callable[[Any], Any],
        machines: Iterable[Machine | str] | None = None,
        max_parallel: int | None = None,
        what: str = "",
    ) -> Outcomes[Any]:
        chosen = list(self) if machines is None else [self[machine] for machine in machines]
        return fan_out({host.name: host for host in chosen}, function, max_parallel=max_parallel or 8, what=what)

    def cancel(self) -> None:
        self.cancelled = True


ORDINARY = """
awk base64 basename cat chgrp chmod chown cmp comm cp cut date dd df dirname du env expr fallocate find flock grep head
id install ln ls mkdir mkswap mktemp mv od paste printf ps readlink realpath rm rmdir sed seq sh sha256sum sleep sort
stat sync tail tar tee test timeout touch tr truncate uname uniq wc xargs
"""
"""Programs that say and do the same on every host: they read and write the files that they are given."""
OF_THE_MACHINE = """
curl docker etcdctl getent journalctl mount reboot swapoff swapon systemctl systemd-analyze umount
"""
FOLDERS = ("/etc", "/opt", "/run", "/var")


class FakeMachine:
    """Its folders are below `root`. Declared programs may write a line to "$calls" for `calls`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._refused = root / "refused"
        self.path("/ordinary").mkdir(parents=True)
        self.allow(*ORDINARY.split())
        for name in OF_THE_MACHINE.split():
            self.program(name, f'echo "{name} $*" >>{self._refused}; exit 127', "/undeclared")

    def path(self, text: str) -> Path:
        return self.root / text.lstrip("/")

    def moved(self, text: str, folders: Sequence[str]) -> str:
        """Return a script with these folders below `root`."""
        for folder in folders:
            text = text.replace(folder, f"{self.root}{folder}")
        return text

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        return target

    def program(self, name: str, script: str, folder: str = "/bin") -> Path:
        """Declare a program: the lines of shell that it runs."""
        return self.write(f"{folder}/{name}", f"#!/bin/sh\ncalls={self.root}/calls\n{script}\n", 0o755)

    def allow(self, *names: str) -> None:
        """Declare programs that are this host's own, where it has them."""
        for name in names:
            if program := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
                self.path(f"/ordinary/{name}").symlink_to(program)

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(
        self, argv: Sequence[str | Path], *, check: bool = False, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; fail where it asks for a program of the machine that was not declared."""
        path = ":".join(str(self.path(name)) for name in ("/bin", "/ordinary", "/undeclared"))
        own = {"PATH": path, "LANG": "C.UTF-8"}
        program, *words = [str(word) for word in argv]
        found = shutil.which(program, path=path) or program
        done = subprocess.run([found, *words], env=own | dict(env or {}), check=False, capture_output=True, text=True)
        refused = self._refused.read_text() if self._refused.exists() else ""
        assert not refused, f"the machine does not know: {refused}"
        assert not check or done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
        return done

    def run_script(self, script: Script) -> subprocess.CompletedProcess[str]:
        """Run what an operation sends, with the folders among its words moved."""
        words = [f"{self.root}{word}" if word.startswith(FOLDERS) else word for word in script[3:]]
        return self.run([*script[:3], *words])
