"""A `docker run` as a definition: each option is translated, dropped with a note, or refused. Pure.

Source: https://docs.docker.com/engine/reference/commandline/run/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from argosy.fleet.docker_command import Container, Option
from argosy.fleet.docker_options import HARMLESS, NOTED, REFUSED
from argosy.fleet.docker_ports import parse_exposed, parse_published
from argosy.fleet.draft import Draft, Link, Published
from argosy.fleet.environment import Environment
from argosy.fleet.literals import literal
from argosy.fleet.quantities import parse_go_duration, parse_megabytes, tidy
from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import shown, symbols

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EVERYWHERE = (
    "/",
    "/dev",
    "/etc",
    "/etc/localtime",
    "/proc",
    "/run",
    "/run/docker.sock",
    "/sys",
    "/var/run/docker.sock",
)
"""What every machine has, and has a use only where it is."""
_STAYS = "what is in it stays when the instance moves, unless a constraint (machine=NAME) keeps it there"
_BRIDGE = ("", "bridge", "default")


class _Translation:
    """One `docker run` while its options are gone through."""

    def __init__(self, container: Container, environment: Environment, findings: Findings) -> None:
        self.container = container
        self.environment = environment
        self.findings = findings
        self.draft = Draft(container=container.name)
        self.quota: dict[str, float] = {}

    def refuse(self, option: Option, reason: str) -> None:
        self.findings.refuse(option.line, f"--{option.name}: {reason}")

    def note(self, option: Option, reason: str) -> None:
        self.findings.note(option.line, f"--{option.name} dropped: {reason}")

    def literal(self, option: Option) -> str | None:
        return literal(option.value, option.line, f"--{option.name}", self.findings)


def translate_container(container: Container, environment: Environment, findings: Findings) -> Draft:
    """Return what `docker run` says as a draft. Notes and refusals go to `findings`, each with its option's line."""
    work = _Translation(container, environment, findings)
    for option in container.options:
        if option.name in TRANSLATED:
            try:
                TRANSLATED[option.name](work, option)
            except ValueError as error:
                work.refuse(option, str(error))
        elif option.value == "false":
            continue
        elif option.name in HARMLESS:
            work.draft.dropped.append(f"--{option.name}")
        elif option.name in NOTED:
            work.note(option, NOTED[option.name])
        else:
            work.refuse(option, REFUSED[option.name])
    _publish_exposed(work)
    _quota(work)
    _image(work)
    return work.draft


def _image(work: _Translation) -> None:
    word = work.container.image
    image = literal(word.text, word.line, "the image", work.findings)
    if image is not None:
        if not re.search(r"(:[^/:@]+|@[^/]+)$", image):
            work.findings.note(
                word.line, f"the image {image} has no tag, so it is :latest: name the version that you want"
            )
            image += ":latest"
        work.draft.set("image", image)
    words = [literal(it.text, it.line, "the command", work.findings) for it in work.container.command]
    if words and None not in words:
        work.draft.set("command", words)


def _publish(work: _Translation, option: Option) -> None:
    for port in parse_published(option):
        address = port.address
        if address and not symbols(address) and ipaddress.ip_address(address).is_loopback:
            work.refuse(
                option, f"{address} is this machine's alone, and an instance's ports are open on its every address"
            )
            return
        if address and address != "0.0.0.0":  # noqa: S104 (it is read, not listened on)
            work.findings.note(
                option.line, f"--publish: not on {shown(address)} alone, but on every address of the machine"
            )
        work.draft.published.append(port.published)


def _publish_all(work: _Translation, option: Option) -> None:
    if option.on:
        work.draft.publish_all = option.line


def _publish_exposed(work: _Translation) -> None:
    """Publish what `--expose` names for `--publish-all`. The ports of the image are not known here."""
    draft = work.draft
    if draft.publish_all:
        draft.published += [Published("", port, "tcp", draft.publish_all) for port in draft.exposed]


def _expose(work: _Translation, option: Option) -> None:
    work.draft.exposed += parse_exposed(option.value)


def _env(work: _Translation, option: Option) -> None:
    name, equals, value = option.value.partition("=")
    if not _ENV_NAME.fullmatch(name):
        work.refuse(option, f"{shown(option.value)!r} is no NAME=VALUE")
        return
    if not equals:
        value = work.environment.value(name)
        if not value:
            work.findings.note(option.line, f"--env {name} dropped: nothing sets it")
            return
    known = literal(value, option.line, f"--env {name}", work.findings)
    if known is not None:
        work.draft.settings.setdefault("env", {})[name] = known


def _volume(work: _Translation, option: Option) -> None:
    text = work.literal(option)
    if text is None:
        return
    parts = text.split(":")
    if len(parts) == 1:
        work.note(option, f"what is in {text} goes with its container, as everything does that no volume holds")
        return
    if len(parts) > 3:
        raise ValueError(f"{text!r} is not SOURCE:TARGET or SOURCE:TARGET:ro")
    flags = set(parts[2].split(",")) if len(parts) == 3 else set()
    if unknown := flags - {"ro", "rw", "z", "Z", "nocopy", "delegated", "cached", "consistent", ""}:
        raise ValueError(f"definitions have no {', '.join(sorted(unknown))} for volumes")
    _add_volume(work, option, parts[0], parts[1], "ro" in flags)


def _mount(work: _Translation, option: Option) -> None:
    text = work.literal(option)
    if text is None:
        return
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        given[key.strip()] = value if equals else "true"
    kind = given.pop("type", "volume")
    source = given.pop("source", "") or given.pop("src", "")
    target = given.pop("target", "") or given.pop("destination", "") or given.pop("dst", "")
    read_only = any(given.pop(key, "false") in ("true", "1") for key in ("readonly", "ro"))
    for key in ("src", "destination", "dst", "bind-propagation", "consistency", "volume-nocopy"):
        given.pop(key, None)
    if kind == "tmpfs":
        work.note(option, NOTED["tmpfs"])
        return
    if kind not in ("bind", "volume") or given:
        raise ValueError(f"definitions have no {', '.join(sorted(given)) or kind} for volumes")
    if not source:
        work.note(option, f"what is in {target} goes with its container, as everything does that no volume holds")
        return
    _add_volume(work, option, source, target, read_only)


def _add_volume(work: _Translation, option: Option, source: str, target: str, read_only: bool) -> None:
    if not source or "," in source or "," in target or not target.startswith("/") or source.startswith((".", "~")):
        raise ValueError(f"{source}:{target} does not lead from a volume's name, or an absolute folder, to one")
    volumes = work.draft.settings.setdefault("volumes", [])
    volumes.append({"source": source, "target": target} | ({"read_only": True} if read_only else {}))
    if not source.startswith("/"):
        where = f"{source} is a volume of each machine of its own"
    elif source not in _EVERYWHERE:
        where = f"{source} has to be there on the machine: Swarm makes no folder"
    else:
        return
    work.findings.note(option.line, where if read_only else f"{where}; {_STAYS}")


def _link(work: _Translation, option: Option) -> None:
    container, _, alias = option.value.partition(":")
    name = container.lstrip("/")
    work.draft.links.append(Link(name, alias or name, option.line))


def _network(work: _Translation, option: Option) -> None:
    if option.value in _BRIDGE:
        work.note(option, "instances are on their machine's bridge anyway")
    elif option.value == "host":
        work.refuse(
            option, "instances are on the bridge: a port of the machine is published (-p), or run a system service"
        )
    elif option.value.startswith("container:"):
        work.refuse(option, "an instance does not share another's network: they may run on two machines")
    else:
        work.refuse(option, f"there is no network {shown(option.value)!r}: instances are on their machine's bridge")


def _restart(work: _Translation, option: Option) -> None:
    condition, _, attempts = option.value.partition(":")
    if condition not in ("no", "always", "unless-stopped", "on-failure") or (attempts and not attempts.isdecimal()):
        raise ValueError(f"{shown(option.value)!r} is no, always, unless-stopped or on-failure[:N]")
    if condition != "no":
        work.draft.set("restart.condition", "on-failure" if condition == "on-failure" else "any")
    if attempts and len(attempts) < 6:
        work.draft.set("restart.attempts", int(attempts))


def _memory(work: _Translation, option: Option) -> None:
    work.draft.set("memory_megabytes", parse_megabytes(shown(option.value)))


def _memory_reservation(work: _Translation, option: Option) -> None:
    work.draft.set("reserve.memory_megabytes", parse_megabytes(shown(option.value)))


def _number(option: Option, most: float) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", option.value, re.ASCII) or float(option.value) > most:
        raise ValueError(f"{shown(option.value)!r} is no number up to {most:g}")
    return float(option.value)


def _cpus(work: _Translation, option: Option) -> None:
    work.draft.set("cpus", _number(option, 1024))


def _cpu_time(work: _Translation, option: Option) -> None:
    work.quota[option.name] = _number(option, 1e9)


def _quota(work: _Translation) -> None:
    """`--cpu-quota` of each `--cpu-period` microseconds (100,000), as a number of CPUs."""
    period = work.quota.get("cpu-period") or 100_000
    if "cpu-quota" in work.quota and "cpus" not in work.draft.settings:
        work.draft.set("cpus", min(round(work.quota["cpu-quota"] / period, 3), 1024))


def _entrypoint(work: _Translation, option: Option) -> None:
    text = work.literal(option)
    if text == "":
        raise ValueError("definitions can't take the image's own entrypoint away: name the program")
    if text is not None:
        work.draft.set("entrypoint", [text])


def _stop_signal(work: _Translation, option: Option) -> None:
    work.draft.set("stop.signal", parse_signal(option.value))


def _stop_timeout(work: _Translation, option: Option) -> None:
    work.draft.set("stop.grace_seconds", int(_number(option, 1e6)))


def parse_signal(text: str) -> str:
    """Return a signal's name without its SIG, or its number. Raises ValueError."""
    name = text.strip().upper().removeprefix("SIG")
    if not re.fullmatch(r"[A-Z0-9+]+", name, re.ASCII):
        raise ValueError(f"{shown(text)!r} is no signal")
    return name


def _health_command(work: _Translation, option: Option) -> None:
    text = work.literal(option)
    if text:
        work.draft.set("check.command", ["/bin/sh", "-c", text])


def _health_timeout(work: _Translation, option: Option) -> None:
    seconds = parse_go_duration(shown(option.value))
    if seconds > 0 and any(it.name == "health-cmd" for it in work.container.options):
        work.draft.set("check.timeout_seconds", tidy(seconds))


TRANSLATED: dict[str, Callable[[_Translation, Option], None]] = {
    "cpu-period": _cpu_time,
    "cpu-quota": _cpu_time,
    "cpus": _cpus,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "health-cmd": _health_command,
    "health-timeout": _health_timeout,
    "link": _link,
    "memory": _memory,
    "memory-reservation": _memory_reservation,
    "mount": _mount,
    "network": _network,
    "publish": _publish,
    "publish-all": _publish_all,
    "restart": _restart,
    "stop-signal": _stop_signal,
    "stop-timeout": _stop_timeout,
    "volume": _volume,
}
