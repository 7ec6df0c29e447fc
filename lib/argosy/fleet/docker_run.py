"""Pure. A `docker run` as a definition: each option is translated, dropped with a note, or refused.

Ports are read here, not by the SDK's split_port: that one takes ports above 65535, ranges that run backwards and
addresses that are none, and it knows no symbols.
Source: https://docs.docker.com/engine/reference/commandline/run/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from argosy.config.references import parse_reference
from argosy.fleet.options import TABLES, Option
from argosy.fleet.quantities import parse_go_duration, parse_megabytes, parse_number, parse_signal
from argosy.fleet.reading import Container, Draft, Published, literal
from argosy.fleet.shell import NAME
from argosy.fleet.unit_file import UnitFile
from argosy.fleet.words import NUL, Unknown, Word, shown, symbols

DROPPED, REFUSED = (
    {name: reason for names, reason in TABLES["options"][fate].items() for name in names.split()}
    for fate in ("dropped", "refused")
)
MAX_RANGE = 100
"""More ports than that are nothing that a definition lists."""
_FOLDER = "has to be there on the machine: Swarm makes no folder"
_STAYS = "what is in it stays when the instance moves, unless a constraint (machine=NAME) keeps it there"
_MOUNT_KEYS = {"src": "source", "destination": "target", "dst": "target", "ro": "readonly"}
_MOUNT_IGNORED = {"bind-propagation", "consistency", "volume-nocopy"}
_VOLUME_FLAGS = {"ro", "rw", "z", "Z", "nocopy", "delegated", "cached", "consistent", ""}


def translate_container(draft: Draft, container: Container) -> None:
    """Add what `docker run` says. Notes and refusals have their options' lines."""
    unit, settings = draft.unit, draft.settings
    for option in container.options:
        with _left_out(unit, option.line, f"--{option.name}"):
            _translate(draft, option)
    if draft.publish_all:
        draft.published += [Published("", port, "tcp", draft.publish_all) for port in draft.exposed]
    quota, period = settings.pop("cpu-quota", None), settings.pop("cpu-period", None) or 100_000
    if quota is not None:
        settings.setdefault("cpus", min(round(quota / period, 3), 1024))
    if not (settings.get("check.command") and settings.get("check.timeout_seconds")):
        settings.pop("check.timeout_seconds", None)
    with unit.errors(container.image.line, "the image"):
        image, _, tag = container.image.text.partition(f":{NUL}")
        image = settings["image"] = literal(Word(image, container.image.line))
        if not re.search(r"(:[^/:@]+|@[^/]+)$", image):
            settings["image"] = f"{image}:latest"
            why = f"the tag {shown(tag)} is known on the machine only" if tag else f"{image} has no tag"
            unit.note(container.image.line, f"{why}, so it is :latest: name the version that you want")
        parse_reference(settings["image"])
    command = container.command
    with _left_out(unit, container.line, f"the command {' '.join(shown(word.text) for word in command)!r}"):
        if command:
            settings["command"] = [literal(word) for word in command]


@contextmanager
def _left_out(unit: UnitFile, line: int, what: str) -> Iterator[None]:
    """Note what the block needs and nobody can know here; refuse what is wrong in it."""
    with unit.errors(line, what):
        try:
            yield
        except Unknown as error:
            unit.note(error.line, f"{what} left out: {error}")


def _translate(draft: Draft, option: Option) -> None:
    name = option.name
    if name in SETTINGS:
        path, parse = SETTINGS[name]
        draft.settings[path] = parse(literal(option))
    elif name in TRANSLATIONS:
        TRANSLATIONS[name](draft, option)
    elif name != "link" and option.text != "false":
        valued = f"{name}={option.text.partition(':')[0]}"
        key = valued if valued in DROPPED or valued in REFUSED else name
        if key in REFUSED:
            raise ValueError(REFUSED[key])
        _drop(draft, option, DROPPED[key])


def _drop(draft: Draft, option: Option, reason: str) -> None:
    if reason:
        draft.unit.note(option.line, f"--{option.name} dropped: {reason}")
    else:
        draft.dropped.setdefault(f"--{option.name}", option.line)


def _publish(draft: Draft, option: Option) -> None:
    """`80`, `8080:80`, `127.0.0.1:8080:80`, `10.0.0.1::80`, `8000-8002:80-82/udp`; the machine's may hold symbols."""
    found = re.fullmatch(r"(?:(?:(.*):)?([^:]*):)?([^:/]*)(?:/(tcp|udp))?", option.text, re.DOTALL | re.IGNORECASE)
    if not found or symbols(found[3]):
        raise ValueError(f"{literal(option)!r} is not [[ADDRESS:]PORT:]PORT of tcp or udp")
    address, outside, protocol = (found[1] or "").strip("[]"), found[2] or "0", (found[4] or "tcp").lower()
    inner = _range(found[3])
    outer = [""] * len(inner) if outside == "0" else [outside] if symbols(outside) else _range(outside)
    if len(outer) != len(inner):
        raise ValueError(f"{shown(option.text)!r}: the two ranges differ in length")
    if address and not symbols(address) and ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"{address} is the machine's alone, and an instance's ports are open on all of its addresses")
    if address not in ("", "0.0.0.0"):  # noqa: S104 (it is read, not listened on)
        draft.unit.note(option.line, f"--publish: not on {shown(address)} alone, but on all addresses of the machine")
    ports = zip(outer, inner, strict=True)
    draft.published += [Published(port, int(own), protocol, option.line) for port, own in ports]


def _range(text: str) -> list[str]:
    """Return the ports of `80` or `80-82`."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text, re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < first <= last < 65536 or last - first >= MAX_RANGE:
        raise ValueError(f"{shown(text)!r} is neither a port nor a range of up to {MAX_RANGE}")
    return [str(port) for port in range(first, last + 1)]


def _publish_all(draft: Draft, option: Option) -> None:
    draft.publish_all = option.line if option.text == "true" else draft.publish_all


def _expose(draft: Draft, option: Option) -> None:
    ports, _, protocol = literal(option).partition("/")
    draft.exposed += [int(port) for port in _range(ports) if protocol.lower() != "udp"]


def _env(draft: Draft, option: Option) -> None:
    name, equals, value = option.text.partition("=")
    if not re.fullmatch(NAME, name):
        name = literal(Word(name, option.line))
        raise ValueError(f"{name!r} is no name that a definition gives a variable: letters, digits and _")
    value = value if equals else draft.environment.value(name)
    if equals or value:
        with _left_out(draft.unit, option.line, f"--env {name}"):
            draft.settings.setdefault("env", {})[name] = literal(Word(value, option.line))
    else:
        draft.unit.note(option.line, f"--env {name} dropped: nothing sets it")


def _volume(draft: Draft, option: Option) -> None:
    mounted = _read_mount if option.name == "mount" else _read_volume
    source, target, read_only, unknown = mounted(literal(option))
    if unknown:
        raise ValueError(f"definitions have no {', '.join(sorted(unknown))} for volumes")
    if source is None:
        _drop(draft, option, f"what is in {target} goes with its container, as everything does that no volume holds")
        return
    if not source or "," in source + target or not target.startswith("/") or source.startswith((".", "~")):
        raise ValueError(f"{source}:{target} does not lead from a volume's name, or an absolute folder, to one")
    volume = {"source": source, "target": target} | ({"read_only": True} if read_only else {})
    draft.settings.setdefault("volumes", []).append(volume)
    if (source.rstrip("/") or "/") not in TABLES["everywhere"]:
        where = _FOLDER if source.startswith("/") else "is a volume of each machine of its own"
        moves = not read_only and "global" not in draft.settings
        draft.unit.note(option.line, f"{source} {where}" + (f"; {_STAYS}" if moves else ""))


def _read_volume(text: str) -> tuple[str | None, str, bool, set[str]]:
    """Return the source, or None for an anonymous volume, the target, whether it is read-only, and unknown flags."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError(f"{text!r} is not SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target = parts[:2] if len(parts) > 1 else (None, text)
    flags = {name for part in parts[2:] for name in part.split(",")}
    return source, target, "ro" in flags, flags - _VOLUME_FLAGS


def _read_mount(text: str) -> tuple[str | None, str, bool, set[str]]:
    given = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        given[_MOUNT_KEYS.get(key.strip(), key.strip())] = value if equals else "true"
    kind, target = given.pop("type", "volume"), given.pop("target", "")
    source, read_only = given.pop("source", None), given.pop("readonly", "") in ("true", "1")
    unknown = {*given, kind} - {"bind", "volume", "tmpfs"} - _MOUNT_IGNORED
    return None if kind == "tmpfs" else source, target, read_only, unknown


def _restart(draft: Draft, option: Option) -> None:
    found = re.fullmatch(r"(no|always|unless-stopped|on-failure)(?::(\d{0,5}))?", option.text, re.ASCII)
    if not found:
        raise ValueError(f"{literal(option)!r} is not no, always, unless-stopped or on-failure[:N]")
    if found[1] != "no":
        draft.settings["restart.condition"] = "on-failure" if found[1] == "on-failure" else "any"
    if found[2]:
        draft.settings["restart.attempts"] = int(found[2])


def _entrypoint(text: str) -> list[str]:
    if not text:
        raise ValueError("definitions can't take the image's own entrypoint away: name the program")
    return [text]


SETTINGS: dict[str, tuple[str, Callable[[str], object]]] = {
    "cpu-period": ("cpu-period", lambda text: parse_number(text, 1e9)),
    "cpu-quota": ("cpu-quota", lambda text: parse_number(text, 1e9)),
    "cpus": ("cpus", lambda text: parse_number(text, 1024)),
    "entrypoint": ("entrypoint", _entrypoint),
    "health-cmd": ("check.command", lambda text: ["/bin/sh", "-c", text] if text else []),
    "health-timeout": ("check.timeout_seconds", parse_go_duration),
    "memory": ("memory_megabytes", parse_megabytes),
    "memory-reservation": ("reserve.memory_megabytes", parse_megabytes),
    "stop-signal": ("stop.signal", parse_signal),
    "stop-timeout": ("stop.grace_seconds", lambda text: int(parse_number(text, 1e6))),
}
"""Options that are one setting: which, and how its value is read."""
TRANSLATIONS: dict[str, Callable[[Draft, Option], None]] = {
    "env": _env,
    "expose": _expose,
    "mount": _volume,
    "publish": _publish,
    "publish-all": _publish_all,
    "restart": _restart,
    "volume": _volume,
}
