"""What HAProxy would get on a machine, worked out here: from the live cluster, or from a file of keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from argosy import atomic
from argosy.config.loading import Settings
from argosy.errors import ConfigError, nearest
from argosy.etcd import Entry
from argosy.model import MachineState
from argosy.routing.plan import plan_routing
from argosy.routing.values import RouterOptions
from argosy.schema import FOLLOWED, Directory, MachineRecord, Problem, parse_directory


def router_options(settings: Settings, machine: MachineRecord) -> RouterOptions:
    """Return the options of a machine's router, as far as they are known here.

    Only the machine itself knows its ports that lead to containers on the bridge, and what else listens on it.
    """
    ports = settings.discovery.ports
    return RouterOptions(
        machine_address=machine.address,
        http_port=ports.http,
        proxy_port=ports.http_proxy,
        https_port=ports.https,
        https_proxy_port=ports.https_proxy,
        tls_port=ports.tls,
        tls_proxy_port=ports.tls_proxy,
        forward_ports=(ports.forwards.first, ports.forwards.last),
        certificates=any((settings.secrets_path / "keys").glob("*.pem")),
        draining=machine.state == MachineState.DRAINING,
        check_seconds=settings.discovery.check_seconds,
    )


def conflicts(settings: Settings, entries: Iterable[Entry]) -> tuple[Problem, ...]:
    """Return what of these keys no router would use, though each by itself is good: two services claim the same."""
    return plan_routing(parse_directory(entries), router_options(settings, MachineRecord(""))).problems


def render(
    settings: Settings, entries: Iterable[Entry], machine: str = ""
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Return the files that the router of `machine` (the first by name, when left out) would get, by their paths below
    its folder, and what is wrong with the keys. Raises ConfigError for a machine that the keys don't know."""
    directory = parse_directory(entries)
    planned = plan_routing(directory, router_options(settings, _machine(directory, machine)))
    problems = {*directory.problems, *planned.problems, *planned.local_problems}
    return planned.files(), tuple(sorted(problems, key=lambda problem: (problem.key, problem.reason)))


def read_keys(path: Path) -> list[Entry]:
    """Return the entries of a file: a JSON object, key -> value, the first being the oldest.

    A value that is no text stands for its JSON: `"/machines/air-01": {"address": "10.0.0.1"}`. Raises ConfigError.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", str(path)) from None
    except ValueError as error:
        raise ConfigError(f"no JSON: {error}", str(path)) from None
    if not isinstance(found, dict):
        raise ConfigError('no JSON object: {"/services/web/scheme": "http", ...} is wanted', str(path))
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}
    stray = next((key for key in values if not key.startswith(FOLLOWED)), None)
    if stray is not None:
        raise ConfigError(f"{stray!r} begins with none of {', '.join(FOLLOWED)}", str(path))
    return [Entry(key, value, number, number) for number, (key, value) in enumerate(values.items(), start=1)]


def write_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write the files below `folder`, and return their paths. Files that are there and are not of them stay."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_if_changed(folder / name, text.encode(errors="surrogateescape"))
    return [folder / name for name in files]


def _machine(directory: Directory, name: str) -> MachineRecord:
    if name and name not in directory.machines:
        known: Sequence[str] = sorted(directory.machines)
        hint = nearest(name, dict.fromkeys(known))
        raise ConfigError(f"no such machine{hint}; known: {', '.join(known) or 'none'}", name)
    return directory.machines[name or min(directory.machines)] if directory.machines else MachineRecord("")
