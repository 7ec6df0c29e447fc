"""Reach into machines: journals, commands, files, the inside of a container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from argosy.config.loading import Settings
from argosy.errors import CommandFailed, ConfigError, HostsFailed, nearest
from argosy.fanout import Outcome, joined
from argosy.report import Report
from argosy.ssh.commands import Result
from argosy.ssh.host import Host, Hosts

OWN_UNITS = ("secrets", "etcd", "installer")
DAY_SECONDS = 86_400


def units(settings: Settings, services: Sequence[str]) -> list[str]:
    """Return the units of these services (or of Argosy's own `etcd`, `installer`, `secrets`); all when none is given.

    Raises ConfigError for a service that the system does not have.
    """
    known = [*settings.services, *OWN_UNITS]
    for service in services:
        _refuse_unknown(settings, service, known, "journal")
    return [f"{settings.system}-{service}.service" for service in services] or [f"{settings.system}-*.service"]


def journal_command(units: Sequence[str], *, lines: int, follow: bool) -> list[str]:
    """Return the argv that shows the units' journal, oldest line first (journalctl(1))."""
    wanted = [f"--unit={unit}" for unit in units]
    return ["journalctl", "--quiet", "--no-pager", "--output=short-iso", f"--lines={lines}", *wanted] + (
        ["--follow"] if follow else []
    )


def follow_journals(
    hosts: Hosts, units: Sequence[str], show: Callable[[str, str], None], *, lines: int, follow: bool
) -> None:
    """Show the units' journal of every machine, each line with its machine's name, as the lines arrive."""
    argv = journal_command(units, lines=lines, follow=follow)

    def one(host: Host) -> None:
        deadline = DAY_SECONDS if follow else host.ssh.command_timeout_seconds
        host.stream(argv, sudo=True, on_line=lambda line: show(host.name, line), deadline_seconds=deadline)

    # A journal that is followed holds its place until the end, so every machine needs one of its own.
    parallel = len(hosts) if follow else None
    joined(hosts.each(one, max_parallel=parallel, what="Reading the journal"))


def run(hosts: Hosts, command: str, *, sudo: bool) -> dict[str, Outcome[Result]]:
    """Run a line of shell on every machine; a command that fails is an outcome, not an error."""
    return hosts.each(lambda host: host.run(command, sudo=sudo, check=False), what=f"{command!r}")


def outcome_lines(outcomes: Mapping[str, Outcome[Result]]) -> Iterator[tuple[str, str]]:
    """Return (machine, line) for all that the commands said, and how they ended where they failed."""
    for name, outcome in outcomes.items():
        if outcome.error is not None:
            yield name, str(outcome.error)
            continue
        result = outcome.get()
        for line in (result.stdout + result.stderr).splitlines():
            yield name, line
        if result.code:
            yield name, f"ended with {result.code}"


def outcome_json(outcome: Outcome[Result]) -> dict[str, Any]:
    """Return `{"code": 0, "stdout": "...", "stderr": "...", "seconds": 0.1}` or `{"error": "..."}`."""
    if outcome.error is not None:
        return {"error": str(outcome.error)}
    result = outcome.get()
    return {"code": result.code, "stdout": result.stdout, "stderr": result.stderr, "seconds": round(result.seconds, 3)}


def refuse_failures(what: str, outcomes: Mapping[str, Outcome[Result]]) -> None:
    """Raise HostsFailed unless the command ended with 0 everywhere; with one machine alone, its own error."""
    failures: dict[str, BaseException] = {}
    for name, outcome in outcomes.items():
        if outcome.error is not None:
            failures[name] = outcome.error
        elif outcome.get().code:
            failures[name] = CommandFailed(f"{name}: {what} ended with {outcome.get().code}", outcome.get())
    if len(outcomes) == 1:
        for error in failures.values():
            raise error
    if failures:
        raise HostsFailed(what, failures, len(outcomes))


def put(hosts: Hosts, local: str, remote: str, report: Report, *, sudo: bool) -> None:
    """Copy the file or folder `local` to `remote` on every machine."""
    source = Path(local)
    if not source.exists():
        raise ConfigError("no such file or folder here", local)

    def one(host: Host) -> None:
        host.put(source, remote, sudo=sudo, recursive=source.is_dir())
        report(host.name, f"{local} -> {remote}")

    joined(hosts.each(one, what=f"Copying {local}"))


def get(hosts: Hosts, remote: str, local: str, report: Report, *, sudo: bool) -> None:
    """Copy `remote` of every machine into the folder `local`; with several machines each has a folder of its name."""
    several = len(hosts) > 1

    def one(host: Host) -> None:
        folder = Path(local) / host.name if several else Path(local)
        folder.mkdir(parents=True, exist_ok=True)
        host.get(remote, folder, sudo=sudo, recursive=True)
        report(host.name, f"{remote} -> {folder}/")

    joined(hosts.each(one, what=f"Copying {remote}"))


def machines_with(settings: Settings, service: str) -> list[str]:
    """Return the only machines that run the service, by name; none when all do."""
    return list(settings.services[service].machines) if service in settings.services else []


def enter(host: Host, settings: Settings, what: str, service: str) -> None:
    """Give the terminal to `SYSTEM shell|console SERVICE` on the machine. Raises ConfigError where there is none."""
    _refuse_unknown(settings, service, list(settings.services), what)
    if what == "console" and not settings.services[service].console:
        raise ConfigError("it has no console; set the command that opens it", f"services.{service}.console")
    code = host.interactive([f"/opt/{settings.system}/bin/{settings.system}", what, service], sudo=True)
    if code:
        raise CommandFailed(f"{host.name}: {what} of {service} ended with {code}")


def _refuse_unknown(settings: Settings, service: str, known: Sequence[str], task: str) -> None:
    """Raise ConfigError for a service that the machines' releases do not have. `task`: for scheduled services, of the
    namespace service, what is the same for one of those."""
    if service in known:
        return
    if service in settings.scheduled:
        raise ConfigError(f"it is scheduled: inv service.{task} {service}", service)
    hint = nearest(service, dict.fromkeys(known))
    raise ConfigError(f"no such service{hint}; known: {', '.join(known) or 'none'}", service)
