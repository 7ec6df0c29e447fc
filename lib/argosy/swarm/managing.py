"""The way to the Swarm: through any of its managers that has a quorum, and through another when that one is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from argosy.clock import wait_until
from argosy.config.loading import Settings
from argosy.engine.api import TIMEOUT_SECONDS, Connection, EngineApi, Query, over_ssh
from argosy.engine.swarm import Swarm
from argosy.engine.swarm_model import SwarmInfo
from argosy.errors import ArgosyError, DeadlineExceeded, EngineError, EngineRefused, HostUnreachable, Refused
from argosy.fanout import Outcomes
from argosy.model import Machine
from argosy.ssh.host import Host, Hosts

LEADER_SECONDS = 45.0
"""How long to wait for a leader: managers take 10 to 20 s to elect one, and after a split vote as long again."""
ANSWER_SECONDS = 2.0
"""A machine whose ssh port is silent for so long is asked last."""
INFO_SECONDS = 30.0
"""How long an engine may take to say what it is in."""
ENSURE = "inv cluster.swarm --ensure"


@contextmanager
def managing(settings: Settings, hosts: Hosts, *, wait_seconds: float = LEADER_SECONDS) -> Iterator[Swarm]:
    """Give the Swarm of the cluster, through any machine of `hosts` that manages it and has a quorum.

    When that one is lost, what is read is read through another. Raises Refused, with what to do, when nobody is in a
    Swarm or its quorum is lost, and HostUnreachable when no machine can be reached.
    """
    if not settings.swarm.enabled:
        raise Refused("swarm.enabled is false in this cluster: there is no Swarm that could run scheduled services")
    with ManagersApi(hosts, wait_seconds) as engine:
        engine.get("/swarm")
        yield Swarm(engine)


def survey(hosts: Hosts, machines: Iterable[Machine | str] | None = None) -> Outcomes[SwarmInfo]:
    """Ask the machines (all) what each one's engine is in, all at the same time."""
    return hosts.each(info_of, machines, what="Asking the machines' engines")


def info_of(host: Host) -> SwarmInfo:
    """Return what a machine's engine is in."""
    with local_swarm(host, INFO_SECONDS) as swarm:
        return swarm.info()


@contextmanager
def local_swarm(host: Host, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Swarm]:
    """Give the Swarm as the machine's own engine has it, manager or not."""
    with over_ssh(host, timeout_seconds) as engine:
        yield Swarm(engine)


class ManagersApi(EngineApi):
    """The engine of whichever manager answers for the whole Swarm now."""

    def __init__(self, hosts: Hosts, wait_seconds: float = LEADER_SECONDS) -> None:
        super().__init__("swarm", self._no_dial)
        self._hosts = hosts
        self._latest = ""
        self._wait_seconds = wait_seconds

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return what GET answers. Asks another manager when this one is lost, or has lost its quorum."""
        try:
            return super().get(path, query)
        except EngineRefused as error:
            if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
        except (EngineError, HostUnreachable, DeadlineExceeded):
            pass
        self.close()
        return super().get(path, query)

    def _connect(self) -> Connection:
        """Return a connection to a manager that has a quorum; waits while they elect a leader."""
        order = self._order()
        leaderless: list[ArgosyError] = []

        def connected() -> Connection | None:
            reasons = []
            for host in order:
                try:
                    return self._connected(host)
                except ArgosyError as error:
                    reasons.append(error)
            leaderless[:] = [error for error in reasons if not _is_no_manager(error)]
            if not leaderless:
                raise _no_manager(survey(self._hosts))
            return None

        connection = wait_until(connected, self._wait_seconds)
        if connection is None:
            raise _no_quorum(leaderless)
        return connection

    def _order(self) -> list[Host]:
        """Return the hosts, those first that take no time to connect: one that is off takes all that ssh allows."""
        known = [host for host in self._hosts if host.is_connected]
        there = {} if known else self._hosts.each(lambda host: host.answers(ANSWER_SECONDS))
        return sorted(
            self._hosts,
            key=lambda host: (
                host.name != self._latest,
                not host.is_connected,
                host.name in there and not there[host.name].value,
            ),
        )

    def _connected(self, host: Host) -> Connection:
        with over_ssh(host, self.timeout_seconds) as engine:
            engine.get("/swarm")
            connection = engine.taken()
        assert connection is not None
        self.where = self._latest = host.name
        return connection

    @staticmethod
    def _no_dial() -> None:
        raise AssertionError("a manager is chosen first")


def _is_no_manager(error: ArgosyError) -> bool:
    """Return whether it says that the machine is no manager, or not there; another one is a manager in trouble."""
    refused = isinstance(error, EngineRefused) and error.status == HTTPStatus.SERVICE_UNAVAILABLE
    return refused or isinstance(error, HostUnreachable)


def _no_manager(seen: Outcomes[SwarmInfo]) -> ArgosyError:
    """Return why nobody can be asked."""
    errors = [outcome.error for outcome in seen.values() if outcome.error is not None]
    infos = {name: outcome.get() for name, outcome in seen.items() if outcome.ok}
    if not infos and errors:
        return errors[0] if isinstance(errors[0], ArgosyError) else EngineError(str(errors[0]))
    locked = [name for name, info in infos.items() if info.state == "locked"]
    if locked:
        return Refused(f"the Swarm on {', '.join(locked)} is locked (autolock): unlock it there (docker swarm unlock)")
    failing = {name: info.error for name, info in infos.items() if info.state == "error"}
    if failing:
        shown = "; ".join(f"{name}: {' '.join(error.split())}" for name, error in failing.items())
        return Refused(f"no manager of the Swarm works ({shown}): {ENSURE} shows what would put it right")
    inside = [name for name, info in infos.items() if info.inside]
    if not inside:
        return Refused(f"no machine is in a Swarm: {ENSURE} makes one")
    unreached = [name for name, outcome in seen.items() if not outcome.ok]
    there = f"; {', '.join(unreached)} can't be asked" if unreached else ""
    return Refused(f"no manager of the Swarm is there{there}: bring one back, or see {ENSURE} --dry-run")


def _no_quorum(reasons: Iterable[ArgosyError]) -> Refused:
    shown = "; ".join(map(str, reasons))
    return Refused(
        f"the Swarm has no quorum of its managers ({shown}): bring managers back; if they are lost for good, "
        f"{ENSURE} --force continues with one that is left"
    )
