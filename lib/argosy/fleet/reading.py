"""One unit read: the container that it runs, the keys that it writes to etcd, and whatever else it would do. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from argosy.fleet.actions import Action, actions_of
from argosy.fleet.command_line import Word, commands_of
from argosy.fleet.docker_command import BadCommand, Container, docker_words, parse_container, split_options
from argosy.fleet.environment import Environment, environment_of
from argosy.fleet.grouping import Group
from argosy.fleet.registration import Written, is_about_etcd, written_by
from argosy.fleet.remarks import Findings
from argosy.fleet.symbols import shown

BEFORE, START, AFTER = "ExecStartPre", "ExecStart", "ExecStartPost"
RELOAD = "ExecReload"
STOPPING = ("ExecStop", "ExecStopPost")
KEYS = (BEFORE, START, AFTER, RELOAD, *STOPPING)
_NO_WORK = ". : [ break cd continue echo exit export printf set sleep source test trap true wait"
NO_WORK = frozenset(_NO_WORK.split())
"""Programs, and words of the shell, that change nothing by themselves."""
_DOCKER_NO_WORK = """
    attach events history images info inspect kill logs network port ps pull rm rmi start stats stop top version volume
    wait
"""
DOCKER_NO_WORK = frozenset(_DOCKER_NO_WORK.split())
"""What is done to a container that Swarm makes anew, or only looks."""
FOLLOWS = ("attach", "logs", "start", "wait")
"""As ExecStart these stay with a container that ExecStartPre made."""
_WRAPPER_SHORT = {"c": "cgroups", "e": "env", "l": "logs", "n": "notify", "p": "pid-file"}
_WRAPPER_FLAGS = frozenset(("env", "logs", "notify"))
_WRAPPER_VALUED = frozenset(("cgroups", "pid-file"))
"""Of systemd-docker: https://github.com/ibuildthecloud/systemd-docker"""
_STOP_SHORT = {"t": "time", "s": "signal", "f": "force", "l": "link", "v": "volumes", "a": "attach", "i": "interactive"}
_STOP_VALUED = frozenset(("time", "timeout", "signal"))
_STOP_FLAGS = frozenset(("force", "link", "volumes", "attach", "interactive", "follow"))


@dataclass(slots=True)
class Stopping:
    """How the unit stops its container. `by_docker`: by `docker stop` or `kill`, not by a signal to Docker's client."""

    by_docker: bool = False
    signal: str = ""
    grace_seconds: int | None = None
    line: int = 0


@dataclass(slots=True)
class ReadUnit:
    """`container`: what it runs; None for a unit that runs none. `written`: keys of etcd. `others`: programs that do
    something else."""

    group: Group
    findings: Findings
    environment: Environment
    container: Container | None = None
    written: list[Written] = field(default_factory=list)
    others: list[Action] = field(default_factory=list)
    stopping: Stopping = field(default_factory=Stopping)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def detached(self) -> bool:
        """Whether the container outlives the command that starts it."""
        return self.container is not None and any(it.name == "detach" and it.on for it in self.container.options)


def read_unit(group: Group) -> ReadUnit:
    """Return what a unit does. What Docker or systemd would refuse is refused; the rest is for the caller to judge."""
    unit = group.unit
    findings = Findings(unit.path)
    findings.refusals += unit.bad
    findings.notes += unit.warnings
    read = ReadUnit(group, findings, environment_of(unit, findings))
    made: dict[str, Container] = {}
    followed: list[Word] = []
    for key in KEYS:
        for command in commands_of(unit, key, read.environment, findings):
            for action in actions_of(command, read.environment):
                _take(read, action, made, followed)
    if read.container is None:
        for name in followed:
            read.container = read.container or made.pop(name.text, None)
    for container in made.values():
        findings.refuse(container.line, "a container of its own before the service's: make it a service, or a volume")
    return read


def _take(read: ReadUnit, action: Action, made: dict[str, Container], followed: list[Word]) -> None:
    """Sort one program into what it is for the unit."""
    key = written_by(action)
    if key:
        read.written.append(key)
    elif action.is_docker:
        try:
            _docker(read, action, made, followed)
        except BadCommand as error:
            read.findings.refuse(error.line, str(error))
    elif not is_about_etcd(action) and action.program not in NO_WORK:
        read.others.append(action)


def _docker(read: ReadUnit, action: Action, made: dict[str, Container], followed: list[Word]) -> None:
    words = list(action.arguments)
    if action.program == "systemd-docker":
        words = split_options(words, _WRAPPER_SHORT, _WRAPPER_FLAGS, _WRAPPER_VALUED)[1]
    subcommand, rest = docker_words(words)
    if subcommand in ("run", "create"):
        _container(read, action, parse_container(rest, action.line), made)
    elif subcommand in DOCKER_NO_WORK:
        if action.key in STOPPING and subcommand in ("stop", "kill"):
            _stop(read, action, subcommand, rest)
        if action.key == START and subcommand in FOLLOWS:
            followed += split_options(rest, _STOP_SHORT, _STOP_FLAGS, _STOP_VALUED)[1][:1]
        read.dropped.setdefault(subcommand, action.line)
    else:
        what = f"docker {shown(subcommand)}" if subcommand else "docker"
        read.findings.refuse(action.line, f"{action.key}: {what} does what no definition says")


def _container(read: ReadUnit, action: Action, container: Container, made: dict[str, Container]) -> None:
    script = action.script
    if script is not None and script.broken:
        read.findings.refuse(action.line, f"{action.key}: its script can't be read: {script.broken}")
    elif script is not None and script.compound:
        read.findings.refuse(
            action.line,
            f"{action.key}: its script runs the container in a loop, a pipe, under a condition or beside others",
        )
    if action.key == BEFORE and container.name:
        made[container.name] = container
    elif action.key != START:
        read.findings.refuse(
            action.line, f"{action.key}: a container of its own beside the service's: make it a service"
        )
    elif read.container is not None:
        read.findings.refuse(action.line, "a second container: a service has one, so make it a service of its own")
    else:
        read.container = container


def _stop(read: ReadUnit, action: Action, subcommand: str, words: list[Word]) -> None:
    options, _ = split_options(words, _STOP_SHORT, _STOP_FLAGS, _STOP_VALUED)
    stopping = read.stopping
    stopping.by_docker, stopping.line = True, action.line
    for option in options:
        if option.name == "signal":
            stopping.signal = option.value
        elif option.name in ("time", "timeout") and re.fullmatch(r"\d{1,6}", option.value, re.ASCII):
            stopping.grace_seconds = int(option.value)
    if subcommand == "kill" and not stopping.signal:
        read.findings.note(
            action.line,
            "docker kill gives no time: here an instance is told to stop, and killed after stop.grace_seconds",
        )
