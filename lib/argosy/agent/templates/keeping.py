"""Keeping one file as its resource says: render, compare, stage, check, put in place, reload.

A reload that is due is remembered on the disk before the file changes and forgotten after it succeeded, so it is made
at least once, whatever happens to the agent in between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy import atomic
from argosy.agent.log import log
from argosy.agent.templates import commands
from argosy.agent.templates import files as template_files
from argosy.agent.templates.files import Wanted
from argosy.agent.templates.functions import ResourceTemplate
from argosy.agent.templates.resources import Resource
from argosy.errors import ConfigError
from argosy.etcd.values import Entry

_log = log("templates")

STATE_FILE = "templates.json"

RunCommand = Callable[[str, Callable[[str], None]], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`changed`: the file was replaced. `reloaded`: its reload_cmd succeeded. `reasons`: what went wrong, a line each,
    beginning with the resource's name."""

    changed: bool = False
    reloaded: bool = False
    reasons: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)


class PendingReloads:
    """The files that were, or were about to be, replaced and whose reload_cmd has not succeeded since.

    On the disk as JSON, {"pending": ["/var/lib/air/files/frontend/backends.json"]}. Several processes may use it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE_FILE
        self._lock = folder / f"{STATE_FILE}.lock"

    def __contains__(self, dest: object) -> bool:
        return str(dest) in self._read()

    def add(self, dest: object) -> None:
        self._change(lambda pending: pending | {str(dest)})

    def remove(self, dest: object) -> None:
        self._change(lambda pending: pending - {str(dest)})

    def repair(self, dests: set[str]) -> None:
        """If the file can't be understood, take it that all of `dests` are pending."""
        try:
            self._read()
        except ValueError as error:
            _log.warning("%s: all reloads are made again", error)
            with atomic.locked(self._lock):
                self._write(dests)

    def _change(self, change: Callable[[set[str]], set[str]]) -> None:
        with atomic.locked(self._lock):
            before = self._read()
            after = change(before)
            if after != before:
                self._write(after)

    def _read(self) -> set[str]:
        try:
            found: Any = json.loads(self._path.read_text())
        except FileNotFoundError:
            return set()
        except ValueError as error:
            raise ValueError(f"{self._path} is no JSON ({error})") from None
        pending = found.get("pending") if isinstance(found, dict) else None
        if not isinstance(pending, list):
            raise ValueError(f"{self._path} holds no list of pending reloads")  # noqa: TRY004 (as for no JSON)
        return {str(dest) for dest in pending}

    def _write(self, pending: set[str]) -> None:
        atomic.write(self._path, json.dumps({"pending": sorted(pending)}).encode() + b"\n", mode=0o600)


class Keeper:
    """Keeps files. One file is worked on by one thread of one process at a time; others wait for it."""

    def __init__(self, state: Path, run: RunCommand = commands.run) -> None:
        """`state`: the agent's own folder (/var/lib/agent), which must exist."""
        self._state = state
        self._run = run
        self.pending = PendingReloads(state)

    def keep(self, resource: Resource, template: ResourceTemplate, entries: Mapping[str, Entry] | None) -> Outcome:
        """Make the file what it must be, and reload if that is due. Never raises for what a resource can cause.

        `entries`: all keys; None when they are not known: then the file stays, and only a pending reload is made.
        """
        try:
            with self._alone(resource):
                changed, failed = self._try_update(resource, template, entries)
                reloaded, not_reloaded = self._try_reload(resource)
        except (OSError, ValueError) as error:
            return Outcome(reasons=(f"{resource.name}: {self._state} can't be used: {error}",))
        reasons = tuple(f"{resource.name}: {reason}" for reason in (failed, not_reloaded) if reason)
        return Outcome(changed, reloaded, reasons)

    def _try_update(
        self, resource: Resource, template: ResourceTemplate, entries: Mapping[str, Entry] | None
    ) -> tuple[bool, str]:
        if entries is None:
            return False, ""
        try:
            return self._update(resource, template.render(entries)), ""
        except (ConfigError, ValueError) as error:
            return False, str(error)
        except OSError as error:
            return False, _explain(resource, error)

    def _try_reload(self, resource: Resource) -> tuple[bool, str]:
        if not resource.reload_cmd or resource.dest not in self.pending:
            return False, ""
        if reason := self._command(resource, "reload_cmd", resource.command(resource.reload_cmd)):
            return False, f"{reason}; it is tried again"
        self.pending.remove(resource.dest)
        return True, ""

    def _alone(self, resource: Resource) -> AbstractContextManager[None]:
        name = hashlib.sha256(str(resource.dest).encode()).hexdigest()[:16]
        folder = self._state / "templates-locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        return atomic.locked(folder / name)

    def _update(self, resource: Resource, content: bytes) -> bool:
        uid, gid = template_files.user_id(resource.owner), template_files.group_id(resource.group)
        wanted = Wanted(content, uid, gid, resource.mode)
        name = resource.path.name
        with template_files.opened_folder(resource.folder, resource.path) as folder:
            if template_files.is_as_wanted(folder, name, wanted):
                return False
            staged = template_files.stage(folder, name, wanted)
            try:
                self._check(resource, staged)
                if resource.reload_cmd:
                    self.pending.add(resource.dest)
                template_files.put(folder, staged, name)
            finally:
                template_files.discard(folder, staged)
        _log.info("%s: %s written", resource.name, resource.dest)
        return True

    def _check(self, resource: Resource, staged: str) -> None:
        if resource.check_cmd:
            command = resource.command(resource.check_cmd, src=str(resource.dest.parent / staged))
            if reason := self._command(resource, "check_cmd", command):
                raise ValueError(f"{reason}; {resource.dest} stays as it was")

    def _command(self, resource: Resource, kind: str, command: str) -> str:
        reason = self._run(command, lambda line: _log.info("%s: %s: %s", resource.name, kind, line))
        return f"{kind} `{command}`: {reason}" if reason else ""


def _explain(resource: Resource, error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{resource.dest} can't be written{where}: {error.strerror or error}"
