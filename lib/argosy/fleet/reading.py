"""Pure. What a unit does: the container that it runs, the keys that it writes to etcd, and whatever else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from argosy.config.scheduled import ScheduledSettings
from argosy.fleet.commands import Command, commands_of, environment_of, simple_commands
from argosy.fleet.options import SYNTAX, TABLES, Option, split_options
from argosy.fleet.quantities import parse_signal
from argosy.fleet.shell import Environment
from argosy.fleet.unit_file import UnitFile
from argosy.fleet.words import INSTANCE, BadLine, UnitName, Unknown, Word, shown, symbol, symbols

BEFORE, START, RELOAD = "ExecStartPre", "ExecStart", "ExecReload"
STOPPING = ("ExecStop", "ExecStopPost")
INSTALLER = "ibuildthecloud/systemd-docker"
"""Puts the wrapper of `docker run` on the machine: https://github.com/ibuildthecloud/systemd-docker"""
NO_WORK, DOCKER_NO_WORK, FOLLOWS, PREPARES = (
    TABLES[key].split() for key in ("no_work", "docker_no_work", "follows", "prepares")
)
_URL_KEY = re.compile(r"https?://[^/]*/v2/keys(/[^?]*)")
ORDER = [entry.alias or name for name, entry in ScheduledSettings.model_fields.items()]


@dataclass(frozen=True, slots=True)
class Known:
    """What an import has to fit to. `http_port`: the router's, where names are told apart; `taken_ports`: the machines'
    that are not free for instances, of TCP and (`taken_udp`) UDP; `services`: the system services' names; `machines`:
    each with its metadata."""

    system: str
    http_port: int
    taken_ports: Collection[int]
    domain: str = "local"
    services: Collection[str] = ()
    scheduled: Collection[str] = ()
    machines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    taken_udp: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A `docker run` or `docker create`: `image`, and the words of its `command`."""

    options: list[Option]
    image: Word
    command: list[Word]
    line: int

    def named(self, name: str) -> list[Option]:
        return [option for option in self.options if option.name == name]

    @property
    def name(self) -> str:
        return next((option.text for option in reversed(self.named("name"))), "")


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the container: `outside`: of the machine, as it was written; empty where Docker chooses one."""

    outside: str
    inside: int
    protocol: str
    line: int


@dataclass(frozen=True, slots=True)
class Written(Word):
    """A key of etcd that a unit writes, and its value as `text`. Both may hold symbols."""

    key: str


@dataclass(slots=True, eq=False)
class Draft:
    """A unit, or a template with its instances, on its way to a definition.

    `unit`: the file that counts for all of `files`. What it does: `container`: that it runs, or None; `written`;
    `others`: commands that do something else; `dropped`: what Swarm does by itself, each with its line; `stop`:
    settings by `docker stop` or `kill`, None when a signal to Docker's client stops it. What its container says:
    `settings`: keys of ScheduledSettings, with dots for those of a section; `exposed`: ports that it names without
    publishing them; `publish_all`: the line that publishes them after all, with those of the image, or 0. What
    [X-Fleet] says: `beside`: MachineOf; `apart`: patterns of Conflicts and Replaces. `main`: the unit that this one
    registers; `sidekicks`: those that register it. `unclear`: some of what it does is refused.
    """

    unit: UnitFile
    files: list[UnitFile] = field(default_factory=list)
    environment: Environment = field(default_factory=Environment)
    container: Container | None = None
    written: list[Written] = field(default_factory=list)
    others: list[Command] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    stop: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    published: list[Published] = field(default_factory=list)
    exposed: list[int] = field(default_factory=list)
    publish_all: int = 0
    beside: list[Word] = field(default_factory=list)
    apart: list[Word] = field(default_factory=list)
    sidekicks: list[Draft] = field(default_factory=list)
    main: Draft | None = None
    name: str = ""
    unclear: bool = False

    @property
    def instances(self) -> list[str]:
        """The names of a template's instances."""
        return [file.name.instance for file in self.files if file.name.instance]

    @property
    def unit_names(self) -> list[UnitName]:
        """The names of its units and its sidekicks', as fleet's patterns see them; a template without instances has
        one."""
        own = [self.unit.name.of(instance) for instance in self.instances or ["1"]]
        return [*own, *(name for sidekick in self.sidekicks for name in sidekick.unit_names)]

    def is_named(self, text: str) -> bool:
        """Whether `text`, which may hold `%i`, is the name of one of its units or its sidekicks'."""
        return any(text in (str(name), str(name.of(symbol(INSTANCE))), str(name.of(""))) for name in self.unit_names)

    def definition(self) -> dict[str, Any]:
        """Return the definition as it stands under `scheduled:`, keys in the order of ScheduledSettings."""
        found: dict[str, Any] = {}
        for path in sorted(self.settings, key=lambda setting: ORDER.index(setting.partition(".")[0])):
            section, _, key = path.rpartition(".")
            (found.setdefault(section, {}) if section else found)[key] = self.settings[path]
        return found


def literal(word: Word) -> str:
    """Return a word's text as it stands in a definition. Raises Unknown for a symbol, and BadLine for a control
    character."""
    if unknown := symbols(word.text):
        reason = next(why for fits, why in TABLES["unknown"].items() if re.fullmatch(fits, unknown[0], re.ASCII))
        raise Unknown(word.line, f"{shown(unknown[0])} {reason}")
    if re.search("[\x00-\x1f\x7f]", word.text):
        raise BadLine(word.line, "a definition holds single lines, without control characters")
    return word.text


def read_unit(draft: Draft) -> None:
    """Find out what the unit does. What Docker or systemd would refuse is refused; the rest is for others to judge."""
    draft.environment = environment_of(draft.unit)
    made: dict[str, Container] = {}
    followed: list[Word] = []
    for key in (BEFORE, START, "ExecStartPost", RELOAD, *STOPPING):
        for command in commands_of(draft.unit, key, draft.environment):
            with draft.unit.errors(command.line, key):
                for simple in simple_commands(command, draft.environment):
                    with draft.unit.errors(simple.line, key):
                        _take(draft, simple, made, followed)
    for name in followed:
        draft.container = draft.container or made.pop(name.text, None)
    for container in made.values():
        draft.unit.refuse(container.line, "another container before the service's: make it a service, or a volume")
    draft.unclear = bool(draft.unit.refusals)


def _take(draft: Draft, command: Command, made: dict[str, Container], followed: list[Word]) -> None:
    """Sort one program into what it is for the unit."""
    about_keys = command.program == "curl" and any("/v2/keys" in word.text for word in command.words)
    if command.program in ("docker", "systemd-docker"):
        _docker(draft, command, made, followed)
    elif written := _written(command):
        draft.written.append(written)
    elif command.program in PREPARES and command.key in (BEFORE, START):
        what = " ".join(shown(word.text) for word in command.words)
        draft.unit.note(command.line, f"{command.key}: {what!r} dropped: hooks.prepare_machine makes machines ready")
    elif command.program not in NO_WORK and not about_keys:
        draft.others.append(command)


def _written(command: Command) -> Written | None:
    """Return the key that a program writes to etcd; None for one that writes none."""
    if command.program == "etcdctl":
        words = [option.text for option in split_options(command.words[1:], SYNTAX["etcdctl"])[1]]
        if len(words) > 2 and words[0] in ("set", "mk", "update", "put", "create"):
            return Written(words[2], command.line, "/" + words[1].removeprefix("/"))
    elif command.program == "curl":
        options, others = split_options(command.words[1:], SYNTAX["curl"])
        url = next((found for other in others if (found := _URL_KEY.match(other.text))), None)
        values = [option.text for option in options if option.name != "request" and option.text.startswith("value=")]
        methods = [option.text.upper() for option in options if option.name == "request"]
        if url and values and methods and methods[-1] in ("PUT", "POST"):
            return Written(values[-1].removeprefix("value="), command.line, url[1])
    return None


def _docker(draft: Draft, command: Command, made: dict[str, Container], followed: list[Word]) -> None:
    options, rest = split_options(command.words[1:], SYNTAX[command.program])
    for option in options:
        if option.name in ("host", "context") and not option.text.startswith("unix://"):
            raise BadLine(option.line, f"it asks the engine {option.text!r}, not the machine's own")
    words = rest[1:] if rest and rest[0].text in ("container", "image") else rest
    subcommand, words = words[0].text if words else "", words[1:]
    if subcommand in ("run", "create"):
        _container(draft, command, parse_container(words, command.line), made)
    elif subcommand in DOCKER_NO_WORK:
        if command.key in STOPPING and subcommand in ("stop", "kill"):
            _stop(draft, command, subcommand, words)
        if command.key == START and subcommand in FOLLOWS:
            followed += split_options(words, SYNTAX["docker stop"])[1][:1]
        draft.dropped.setdefault(f"docker {subcommand}", command.line)
    elif subcommand == "login":
        draft.unit.note(command.line, "docker login dropped: machines have the login of Argosy's own registry alone")
    else:
        raise ValueError(
            f"{shown(f'docker {subcommand}')!r} has no place in a definition: bring what it does into the image"
        )


def _container(draft: Draft, command: Command, container: Container, made: dict[str, Container]) -> None:
    unit, key, line, script = draft.unit, command.key, command.line, command.script
    if script and script.broken:
        unit.refuse(line, f"{key}: its script can't be read: {script.broken}")
    elif script and script.compound:
        unit.refuse(line, f"{key}: its script runs the container in a loop, a pipe, under a condition or beside others")
    if key == BEFORE and container.image.text.partition(":")[0] == INSTALLER:
        unit.note(line, f"{INSTALLER} is not installed: Swarm starts and follows the container")
    elif key == BEFORE and container.name:
        made[container.name] = container
    elif key != START:
        detached = any(option.text == "true" for option in container.named("detach"))
        what = "make it a service" if detached or key != BEFORE else "bring what it does into the image"
        raise ValueError(f"another container beside the service's: {what}")
    elif draft.container:
        raise ValueError("a second container: a service has one, so make it a service of its own")
    else:
        draft.container = container


def _stop(draft: Draft, command: Command, subcommand: str, words: Sequence[Word]) -> None:
    draft.stop = draft.stop or {}
    for option in split_options(words, SYNTAX["docker stop"])[0]:
        if option.name == "signal":
            draft.stop["stop.signal"] = parse_signal(shown(option.text))
        elif option.name in ("time", "timeout") and re.fullmatch(r"\d{1,6}", option.text, re.ASCII):
            draft.stop["stop.grace_seconds"] = int(option.text)
    if subcommand == "kill" and "stop.signal" not in draft.stop:
        draft.unit.note(command.line, "docker kill gives no time: here stop.grace_seconds is between stop and kill")


def parse_container(words: Sequence[Word], line: int) -> Container:
    """Return what stands after `docker run`. Raises ValueError."""
    options, rest = split_options(words, SYNTAX["docker run"])
    if not rest:
        raise ValueError("docker run names no image")
    return Container(options, rest[0], rest[1:], line)
