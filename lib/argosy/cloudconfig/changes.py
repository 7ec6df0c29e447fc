"""What an existing machine lacks to be as its MachineConfig says. Pure: what is and what shall be in, changes out.

For machines that did not boot with a cloud-config file (bare metal). Host name, users and ssh keys stay as they are: a
machine that we can log in on has them. Two files are shared with the machine's owner and are merged into, not replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from argosy.dialects import File, MachineConfig
from argosy.errors import Refused

DAEMON_JSON = "/etc/docker/daemon.json"
ENVIRONMENT = "/etc/environment"
SHARED = (DAEMON_JSON, ENVIRONMENT)

OBSERVE = """\
set -eu
for program in docker systemctl flock; do
  command -v "$program" >/dev/null || printf 'lacks %s\\n' "$program"
done
for unit in $1; do
  if systemctl is-enabled --quiet "$unit" 2>/dev/null; then printf 'enabled %s\\n' "$unit"; fi
done
shift
for path in "$@"; do
  if [ -f "$path" ]; then
    printf 'file %s %s %s\\n' "$(stat -Lc %a -- "$path")" "$(sha256sum <"$path" | cut -c 1-64)" "$path"
  fi
done
"""
"""$1: units, by spaces; $2...: absolute paths. Prints `lacks PROGRAM`, `enabled UNIT`, `file MODE SHA256 PATH`."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What stands on a machine. `files`: path -> (octal mode, sha256); `shared`: the text of each of SHARED."""

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    lacking: tuple[str, ...] = ()
    shared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do, in this order. All empty: the machine is as it shall be."""

    files: tuple[File, ...] = ()
    reload_units: bool = False
    restart_docker: bool = False
    enable: tuple[str, ...] = ()
    start: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.enable)

    def lines(self) -> list[str]:
        """Return each change as a dry run prints it."""
        lines = [f"write {file.path} ({file.permissions})" for file in self.files]
        if self.reload_units:
            lines.append("make systemd read its units anew")
        if self.restart_docker:
            lines.append("restart Docker, which reads its settings anew")
        lines += [f"enable {unit}" for unit in self.enable]
        return lines + [f"start {unit}" for unit in self.start]


def all_files(config: MachineConfig) -> list[File]:
    """Return the files and the units' files of `config`."""
    return [*config.files, *(File(unit.path, unit.content) for unit in config.units)]


def parse_observed(output: str, shared: Mapping[str, str]) -> Observed:
    """Read what OBSERVE printed."""
    words = [line.split(" ", 3) for line in output.splitlines()]
    return Observed(
        files={line[3]: (line[1].zfill(4), line[2]) for line in words if line[0] == "file"},
        enabled=frozenset(line[1] for line in words if line[0] == "enabled"),
        lacking=tuple(line[1] for line in words if line[0] == "lacks"),
        shared=shared,
    )


def plan_changes(config: MachineConfig, observed: Observed) -> Changes:
    """Return what makes the machine as `config` says; nothing when it is. Raises Refused when it can't become so."""
    if observed.lacking:
        raise Refused(f"{config.hostname}: it has no {' and no '.join(observed.lacking)}; install that first")
    wanted = [_merged(config.hostname, file, observed.shared) for file in all_files(config)]
    changed = tuple(file for file in wanted if observed.files.get(file.path) != (file.permissions, _digest(file)))
    paths = {file.path for file in changed}
    enable = tuple(it.name for it in config.units if it.enabled and it.name not in observed.enabled)
    units = {unit.name: unit.path for unit in config.units}
    return Changes(
        files=changed,
        reload_units=bool(paths & set(units.values())),
        restart_docker=DAEMON_JSON in paths,
        enable=enable,
        start=tuple(it.name for it in config.units if it.started and (it.name in enable or it.path in paths)),
    )


def merge_environment(existing: str, ours: str) -> str:
    """Return /etc/environment with our variables set and all other lines as they are."""
    names = {line.partition("=")[0] for line in ours.splitlines()}
    kept = [line for line in existing.splitlines() if line.partition("=")[0].strip() not in names]
    return "".join(f"{line}\n" for line in [*kept, *ours.splitlines()])


def merge_daemon_json(existing: str, ours: str) -> str:
    """Return daemon.json with our keys set and all others as they are. Raises ValueError unless `existing` is JSON."""
    document = json.loads(existing) if existing.strip() else {}
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 (as json.loads says it)
    merged = document | json.loads(ours)
    return existing if merged == document else json.dumps(merged, indent=2, sort_keys=True) + "\n"


def _merged(machine: str, file: File, shared: Mapping[str, str]) -> File:
    existing = shared.get(file.path, "")
    if file.path == ENVIRONMENT:
        ours = re.sub(r"(?m)^PATH=.*\n", "", file.content)
        return replace(file, content=merge_environment(existing, ours))
    if file.path == DAEMON_JSON:
        try:
            return replace(file, content=merge_daemon_json(existing, file.content))
        except ValueError:
            raise Refused(f"{machine}: its {DAEMON_JSON} is not JSON; repair it or move it away") from None
    return file


def _digest(file: File) -> str:
    return hashlib.sha256(file.content.encode()).hexdigest()


def shell_arguments(config: MachineConfig) -> Sequence[str]:
    """Return the arguments of OBSERVE."""
    units = " ".join(unit.name for unit in config.units if unit.enabled)
    return [units, *(file.path for file in all_files(config))]
