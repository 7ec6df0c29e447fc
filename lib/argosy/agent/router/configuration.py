"""The router's configuration on disk: what HAProxy loads, now or when it is started. Never one that it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from argosy import atomic
from argosy.agent.router.ports import bound_ports

CONFIG = "haproxy.cfg"
CANDIDATE = "haproxy.cfg.candidate"
MAPS = "maps"

_STRUCTURE = re.compile(r"^\s*description structure=(\S+)", re.MULTILINE)


class Configuration:
    """haproxy.cfg and the maps beside it. Each structure has maps of its own, so haproxy.cfg, replaced in one step,
    always finds those that it was made with. Used by the router's thread alone; every method may raise OSError."""

    def __init__(self, folder: Path, check: Callable[[Path], str]) -> None:
        """`check`: tells in one line why HAProxy would refuse the configuration at a path, empty when it would not."""
        self._folder = folder
        self._check = check
        self._before: str | None = None

    @property
    def text(self) -> str:
        """haproxy.cfg as it is; empty when there is none."""
        try:
            return (self._folder / CONFIG).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    @property
    def structure(self) -> str:
        """The structure of haproxy.cfg; empty when it says none."""
        found = _STRUCTURE.search(self.text)
        return found[1] if found else ""

    @property
    def ports(self) -> frozenset[int]:
        """What HAProxy listens on if it has loaded haproxy.cfg."""
        return bound_ports(self.text)

    def put(self, files: Mapping[str, str], *, check: bool = True) -> str:
        """Put `files` (as of Routing.files) in place if HAProxy accepts them, else return why it does not.

        `check`: ask HAProxy. Idempotent: what stands there already is neither written nor checked again.
        """
        if all(self._holds(name, text) for name, text in files.items()):
            return ""
        (self._folder / MAPS).mkdir(mode=0o755, parents=True, exist_ok=True)
        made = [name for name in files if name != CONFIG and not (self._folder / name).exists()]
        for name in made:
            atomic.write(self._folder / name, files[name].encode("ascii"))
        candidate = self._folder / CANDIDATE
        atomic.write(candidate, files[CONFIG].encode("ascii"))
        problem = self._check(candidate) if check else ""
        if problem:
            self._remove(CANDIDATE, *made)
            return problem
        self._before = self.text or None
        candidate.replace(self._folder / CONFIG)
        return ""

    def restore(self) -> None:
        """Put back what stood there before the last `put`: HAProxy could not load the new one after all."""
        if self._before is not None:
            atomic.write(self._folder / CONFIG, self._before.encode())

    def tidy(self, structure: str) -> None:
        """Remove the maps of other structures; a running HAProxy has read its own."""
        for path in (self._folder / MAPS).glob("*.map"):
            if not path.name.endswith(f"-{structure}.map"):
                self._remove(f"{MAPS}/{path.name}")

    def _holds(self, name: str, text: str) -> bool:
        path = self._folder / name
        return path.is_file() and path.read_text(errors="replace") == text

    def _remove(self, *names: str) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                (self._folder / name).unlink()
