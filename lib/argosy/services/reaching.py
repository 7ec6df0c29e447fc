"""Reach into the instances of a scheduled service: what they write, a shell, a console."""

from __future__ import annotations

import sys
from collections.abc import Callable

from argosy.errors import CommandFailed, ConfigError, Refused
from argosy.fanout import fan_out, joined
from argosy.rendering.service_unit import DOCKER
from argosy.services.plan import chosen
from argosy.services.state import Instance, Running, ServiceState
from argosy.services.work import ServicesCluster
from argosy.text import printable

Show = Callable[[str, str], None]


def journal(work: ServicesCluster, name: str, show: Show, *, lines: int, follow: bool) -> None:
    """Show what the instances of every generation write, each line after its instance, as it comes."""
    generations = {f"generation {number}": running for number, running in _seen(work, name).generations.items()}
    if not generations:
        raise Refused(f"{name} does not run, and what it wrote went with its instances")

    def one(running: Running) -> None:
        names = {
            instance.task.id: f"{running.number}/{instance.task.slot or ''}@{instance.machine}"
            for instance in (*running.instances, *running.ended)
        }
        for line in work.swarm.logs(running.service.id, follow=follow, tail=lines):
            # One that has come since is known by its task alone.
            instance = names.get(line.task_id, f"{running.number}/{line.task_id[:8]}")
            show(instance, f"{line.time[:19]} {printable(line.text)}" if line.time else printable(line.text))

    if follow:
        joined(fan_out(generations, one, max_parallel=len(generations), what="Reading the journal"))
        return
    for running in generations.values():
        one(running)


def enter(work: ServicesCluster, what: str, name: str, which: str = "") -> None:
    """Give the terminal to the shell or the console of an instance.

    `which`: its number, its machine or its container; the first that runs when empty.
    """
    seen = _seen(work, name)
    words = _words(seen, what)
    instance = choose(seen, which)
    terminal = ["--tty"] if sys.stdin.isatty() else []
    command = [DOCKER, "exec", "--interactive", *terminal, instance.task.container_id, *words]
    code = work.hosts[instance.machine].interactive(command, sudo=True)
    if code:
        raise CommandFailed(f"{instance.machine}: {what} of {name} ended with {code}")


def choose(seen: ServiceState, which: str) -> Instance:
    """Return the instance that is meant: of the wanted generation, if it can be. Pure. Raises Refused, ConfigError."""
    current = [seen.current] if seen.current else []
    every = [instance for running in [*current, *seen.generations.values()] for instance in running.up]
    if not every:
        raise Refused(f"no instance of {seen.name} runs: see inv service.show {seen.name}")
    for instance in every:
        if which in (
            "",
            str(instance.task.slot),
            instance.machine,
            instance.container,
            instance.id,
            f"{instance.generation}/{instance.task.slot}",
        ):
            return instance
    known = ", ".join(
        dict.fromkeys(f"{instance.task.slot or instance.machine} on {instance.machine}" for instance in every)
    )
    raise ConfigError(f"no such instance of {seen.name} runs; those that do: {known}", which)


def _words(seen: ServiceState, what: str) -> list[str]:
    definition = seen.record.definition if seen.record else None
    if definition is None:
        return ["/bin/sh"]
    if what == "console" and not definition.console:
        raise ConfigError("it has no console; set the command that opens it", f"scheduled.{seen.name}.console")
    return definition.console if what == "console" else definition.shell


def _seen(work: ServicesCluster, name: str) -> ServiceState:
    state = work.look()
    chosen([name], state.services, everything=False, system=work.settings.services)
    return state.of(name)
