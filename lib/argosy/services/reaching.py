"""Reach into the instances of a scheduled service: what they write, a shell, a console."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from argosy.errors import ArgosyError, CommandFailed, ConfigError, Refused
from argosy.operations.service.work import Work
from argosy.scheduled_state import Instance, Running, Seen
from argosy.service_changes import plain
from argosy.service_unit import DOCKER
from argosy.swarm import LogLine

Show = Callable[[str, str], None]


def journal(work: Work, name: str, show: Show, *, lines: int, follow: bool) -> None:
    """Show what the instances of every generation write, each line after its instance, as it comes."""
    generations = _seen(work, name).generations.values()
    if not generations:
        raise Refused(f"{name} does not run, and what it wrote went with its instances")
    for instance, line in _lines(work, list(generations), lines, follow):
        show(instance, f"{line.time[:19]} {plain(line.text)}" if line.time else plain(line.text))


def _lines(work: Work, generations: Sequence[Running], lines: int, follow: bool) -> Iterator[tuple[str, LogLine]]:
    if not follow or len(generations) == 1:
        for running in generations:
            names = _names(running)
            for line in work.swarm.logs(running.service.id, follow=follow, tail=lines):
                yield _name(names, running, line), line
        return
    found: queue.SimpleQueue[tuple[Running, LogLine] | ArgosyError | None] = queue.SimpleQueue()
    for running in generations:
        threading.Thread(target=_read, args=(work, running, lines, found), daemon=True).start()
    known = {running.number: _names(running) for running in generations}
    left = len(generations)
    while left:
        said = found.get()
        if said is None:
            left -= 1
        elif isinstance(said, ArgosyError):
            raise said
        else:
            yield _name(known[said[0].number], *said), said[1]


def _read(
    work: Work, running: Running, lines: int, found: queue.SimpleQueue[tuple[Running, LogLine] | ArgosyError | None]
) -> None:
    try:
        for line in work.swarm.logs(running.service.id, follow=True, tail=lines):
            found.put((running, line))
        found.put(None)
    except ArgosyError as error:
        found.put(error)


def _names(running: Running) -> dict[str, str]:
    return {it.task.id: _shown(it) for it in (*running.instances, *running.ended)}


def _name(names: dict[str, str], running: Running, line: LogLine) -> str:
    """Return an instance's name for its lines; one that has come since is known by its task alone."""
    return names.get(line.task_id, f"{running.number}/{line.task_id[:8]}")


def _shown(instance: Instance) -> str:
    return f"{instance.generation}/{instance.task.slot or ''}@{instance.machine}"


def enter(work: Work, what: str, name: str, chosen: str = "") -> None:
    """Give the terminal to the shell or the console of an instance.

    `chosen`: its number, its machine or its container; the first that runs when empty.
    """
    seen = _seen(work, name)
    words = _words(seen, what)
    instance = choose(seen, chosen)
    assert work.hosts is not None
    terminal = ["--tty"] if sys.stdin.isatty() else []
    command = [DOCKER, "exec", "--interactive", *terminal, instance.task.container_id, *words]
    code = work.hosts[instance.machine].interactive(command, sudo=True)
    if code:
        raise CommandFailed(f"{instance.machine}: {what} of {name} ended with {code}")


def choose(seen: Seen, chosen: str) -> Instance:
    """Return the instance that is meant: of the wanted generation, if it can be. Pure. Raises Refused, ConfigError."""
    current = [seen.current] if seen.current else []
    every = [it for running in [*current, *seen.generations.values()] for it in running.up]
    if not every:
        raise Refused(f"no instance of {seen.name} runs: see inv service.show {seen.name}")
    for it in every:
        if chosen in ("", str(it.task.slot), it.machine, it.container, it.id, f"{it.generation}/{it.task.slot}"):
            return it
    known = ", ".join(dict.fromkeys(f"{it.task.slot or it.machine} on {it.machine}" for it in every))
    raise ConfigError(f"no such instance of {seen.name} runs; those that do: {known}", chosen)


def _words(seen: Seen, what: str) -> list[str]:
    definition = seen.record.definition if seen.record else None
    if definition is None:
        return ["/bin/sh"]
    if what == "console" and not definition.console:
        raise ConfigError("it has no console; set the command that opens it", f"scheduled.{seen.name}.console")
    return definition.console if what == "console" else definition.shell


def _seen(work: Work, name: str) -> Seen:
    fleet = work.look()
    seen = fleet.of(name)
    if seen.nothing:
        raise ConfigError(f"no such scheduled service; known: {', '.join(fleet.services) or 'none'}", name)
    return seen
