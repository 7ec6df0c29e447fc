"""Pure. What an existing machine lacks to be as its MachineConfig says.

For machines that did not boot with a cloud-config file (bare metal). Host name, users and ssh keys stay as they are: a
machine that we can log in on has them. Two files are shared with the machine's owner (argosy.cloudconfig.shared): they
are merged into, and what they were is written down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from argosy.cloudconfig.dialects.machine import MachineConfig
from argosy.cloudconfig.shared import DAEMON_JSON, RESTART, SHARED, merged, origin_of, origins_json, parse_origins
from argosy.errors import Refused
from argosy.model import File
from argosy.paths import Names

ORIGINS = "shared.json"
_IMAGE = "IMAGE="

OBSERVE = """\
set -eu
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
"""$1: units, by spaces; $2...: absolute paths. Prints `enabled UNIT`, `file MODE SHA256 PATH`."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What stands on a machine. `files`: path -> (octal mode, sha256); `shared`: the text of each of
    `shared_paths`, None where there is no such file."""

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    shared: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do, in this order, so that what was done half-way is seen. All empty: the machine is as it must be."""

    files: tuple[File, ...] = ()
    reload_units: bool = False
    restart_docker: bool = False
    start: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.restart_docker or self.enable)

    def lines(self) -> list[str]:
        """Return each change as a dry run prints it."""
        lines = [f"write {file.path} ({file.permissions})" for file in self.files]
        if self.reload_units:
            lines.append("make systemd read its units anew")
        if self.restart_docker:
            lines.append("restart Docker, which reads its settings anew")
        lines += [f"start {unit}" for unit in self.start]
        return lines + [f"enable {unit}" for unit in self.enable]


def all_files(config: MachineConfig) -> list[File]:
    """Return the files and the units' files of `config`."""
    return [*config.files, *(File(unit.path, unit.content) for unit in config.units)]


def shared_paths(names: Names) -> tuple[str, ...]:
    """Return the files whose text matters: those that we share with the machine's owner, and what they were."""
    return (*SHARED, f"{names.config}/{ORIGINS}")


def parse_observed(output: str, shared: Mapping[str, str | None]) -> Observed:
    """Read what OBSERVE printed."""
    words = [line.split(" ", 3) for line in output.splitlines()]
    return Observed(
        files={line[3]: (line[1].zfill(4), line[2]) for line in words if line[0] == "file"},
        enabled=frozenset(line[1] for line in words if line[0] == "enabled"),
        shared=shared,
    )


def plan_changes(config: MachineConfig, observed: Observed, names: Names) -> Changes:
    """Return what makes the machine as `config` says; nothing when it is. Raises Refused when it can't become so."""
    # What was there before is written down before it is changed.
    wanted = [_origins(config.hostname, config, observed, names)]
    for file in all_files(config):
        shared = file.path in SHARED
        wanted.append(_merged(config.hostname, file, observed.shared.get(file.path)) if shared else file)
    changed = tuple(file for file in wanted if observed.files.get(file.path) != (file.permissions, _digest(file)))
    paths = {file.path for file in changed}
    enable = tuple(unit.name for unit in config.units if unit.enabled and unit.name not in observed.enabled)
    units = {unit.name: unit.path for unit in config.units}
    return Changes(
        files=changed,
        reload_units=bool(paths & set(units.values())),
        restart_docker=DAEMON_JSON in paths or f"{names.config}/{RESTART}" in observed.files,
        start=tuple(unit.name for unit in config.units if unit.started and (unit.name in enable or unit.path in paths)),
        enable=enable,
    )


def keep_chosen(config: MachineConfig, names: Names, etcd_env: str | None) -> MachineConfig:
    """Return what a machine that is installed is made of: the release and the image of etcd that it has been told stay
    its own, since both have an upgrade that takes care. `etcd_env`: what etcd.env holds there, None without one."""
    image = next((line for line in (etcd_env or "").splitlines() if line.startswith(_IMAGE)), "")

    def kept(file: File) -> File:
        if file.path != f"{names.config}/etcd.env" or not image:
            return file
        lines = [image if line.startswith(_IMAGE) else line for line in file.content.splitlines()]
        return replace(file, content="".join(f"{line}\n" for line in lines))

    files = tuple(kept(file) for file in config.files if file.path != f"{names.config}/release.env")
    return replace(config, files=files)


def _merged(machine: str, file: File, text: str | None) -> File:
    with _json_expected(machine, file.path):
        return replace(file, content=merged(file.path, text, file.content))


def _origins(machine: str, config: MachineConfig, observed: Observed, names: Names) -> File:
    """Return the file that says what was there before us: written once, kept for as long as the machine is one."""
    path = f"{names.config}/{ORIGINS}"
    with _json_expected(machine, path):
        origins = parse_origins(observed.shared.get(path) or "")
    ours_already = f"{names.config}/machine.env" in observed.files
    for file in config.files:
        if file.path in SHARED:
            text, earlier = observed.shared.get(file.path), origins.get(file.path)
            with _json_expected(machine, file.path):
                origins[file.path] = origin_of(file.path, text, file.content, earlier, ours_already=ours_already)
    return File(path, origins_json(origins))


@contextmanager
def _json_expected(machine: str, path: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise Refused(f"{machine}: its {path} is not JSON; repair it or move it away") from None


def _digest(file: File) -> str:
    return hashlib.sha256(file.content.encode()).hexdigest()


def shell_arguments(config: MachineConfig, names: Names) -> Sequence[str]:
    """Return the arguments of OBSERVE."""
    units = " ".join(unit.name for unit in config.units if unit.enabled)
    own = (f"{names.config}/{name}" for name in (ORIGINS, RESTART))
    return [units, *(file.path for file in all_files(config)), *own]
