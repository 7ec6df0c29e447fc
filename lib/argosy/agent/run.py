"""The agent as a process: its parts are made and put together here, and nowhere else."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from argosy import atomic
from argosy.agent import log
from argosy.agent.alarms import AlarmFollower
from argosy.agent.lease import Lease
from argosy.agent.machine_status import PATH as MACHINE_STATUS
from argosy.agent.machine_status import MachineStatus
from argosy.agent.members import MemberFollower
from argosy.agent.mirror import Mirror
from argosy.agent.options import Options, parse_options
from argosy.agent.publication import Publication
from argosy.agent.registrar import deregistration
from argosy.agent.registrar.forwards import Forwards
from argosy.agent.registrar.registrar import Registrar
from argosy.agent.router import connections, haproxy, ports
from argosy.agent.router.certificates import CertificateFolder
from argosy.agent.router.configuration import Configuration
from argosy.agent.router.loading import Loader
from argosy.agent.router.plans import Plans
from argosy.agent.router.router import Router
from argosy.agent.store import Credentials, open_store, read_credentials
from argosy.agent.telemetry import Telemetry
from argosy.agent.templates import watching
from argosy.engine.running import MachineContainers
from argosy.errors import ConfigError
from argosy.etcd.client import Etcd
from argosy.schema import Problem

_log = log.log("run")

EXIT_FAILED = 70
STUCK_SECONDS = 60.0
"""A router whose rounds have not moved on for so long does not do its work."""


def run(environment: Mapping[str, str] = os.environ) -> int:
    """Run until SIGTERM or SIGINT, then end at once; what is routed and registered stays so.

    It also ends when the machine gets other certificates for etcd: its unit starts it again, with these. Returns the
    exit status when it can't even start.
    """
    log.start()
    threading.excepthook = _end_with
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        options = parse_options(environment)
        credentials = read_credentials(options)
        agent = Agent(options)
        agent.start()
    except (ConfigError, OSError) as error:
        print(f"the agent can't start: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, ConfigError) else 1
    while not ended.wait(options.tunables.tick_seconds):
        if _credentials_differ(options, credentials):
            _log.info("this machine has other certificates for etcd: starting anew with them")
            break
    agent.stop()
    _log.info("ended; routes and registrations stay as they are")
    sys.stderr.flush()
    # Not by way of the interpreter, which would wait for a call of etcd that is under way.
    os._exit(0)


def _credentials_differ(options: Options, known: Credentials) -> bool:
    """Return whether the certificates on disk are complete and others than `known`."""
    try:
        return read_credentials(options) != known
    except ConfigError:
        # They are being replaced, or are gone: those that we have are the best there are.
        return False


def _end_with(failure: threading.ExceptHookArgs) -> None:
    """End the process when one of its threads has failed: its unit starts it anew, whole. Half of an agent would look
    healthy and do nothing."""
    name = failure.thread.name if failure.thread else "?"
    _log.critical("thread %s failed", name, exc_info=failure.exc_value)
    sys.stderr.flush()
    os._exit(EXIT_FAILED)


class Part(Protocol):
    def start(self) -> None: ...


class Agent:
    """All parts of one agent, in the order in which they are started."""

    def __init__(self, options: Options) -> None:
        paths = options.paths
        for folder in (paths.state, paths.agent_socket.parent):
            atomic.ensure_private_folder(folder)
        self.telemetry = Telemetry(paths.agent_socket)
        self.members = MemberFollower()
        self.mirror = Mirror(self._open_store(options))
        self.members.follow(self.mirror)
        self.parts: list[Part] = [self.telemetry, self.members]
        # Stores of their own: no other call keeps a renewal, or what the router says, waiting.
        lease = Lease(self._open_store(options), options.tunables.ttl_seconds, paths.state / "lease.json")
        publication = Publication(self._open_store(options), lease, options.machine)
        alarms = AlarmFollower(self._open_store(options))
        self.parts += [lease, publication, alarms]
        if options.balancer:
            plans, self.router = self._make_router(options, publication)
        else:
            plans, self.router = self._make_machine(options, lease, publication)
        _report_publication(self.telemetry, lease, publication)
        _report_etcd(self.telemetry, self.mirror, alarms)
        _report_router(self.telemetry, self.router, plans)
        plans.follow(self.mirror, self.router.wake)
        self.parts.append(self.mirror)

    def start(self) -> None:
        for part in self.parts:
            part.start()

    def stop(self) -> None:
        """Leave everything as it is, but the socket on which nobody answers any more."""
        self.telemetry.stop()

    def _open_store(self, options: Options) -> Etcd:
        return self.members.keep(open_store(options))

    def _make_router(
        self,
        options: Options,
        publication: Publication,
        forwards: Forwards | None = None,
        others: Callable[[], Iterable[Problem]] = tuple,
    ) -> tuple[Plans, Router]:
        """Make the router's loop. The balancer has only this: it is no machine, so it registers nothing. But it says
        what it has applied, so that whoever drains a machine waits for it, too."""
        paths = options.paths
        client = haproxy.Haproxy(paths.admin_socket, paths.master_socket)
        # The balancer listens where its operator says; a service can't bring it another port.
        taken = partial(ports.taken_ports, address=options.tunables.bind_address)
        loader = Loader(
            client,
            Configuration(paths.router, haproxy.check),
            (lambda _: frozenset()) if options.balancer else taken,
        )
        plans = Plans(options)
        router = Router(
            plans,
            client,
            loader,
            CertificateFolder(paths.keys, paths.router / "certs"),
            publication.say,
            forwards,
            others,
            options.tunables.tick_seconds,
        )
        self.parts.append(router)
        return plans, router

    def _make_machine(self, options: Options, lease: Lease, publication: Publication) -> tuple[Plans, Router]:
        """Make what only a machine has: the registrar, templates, and its router's ports for its own containers."""
        paths, tunables = options.paths, options.tunables
        forwards = Forwards(paths.state / "forwards.json", tunables.forward_ports)
        store = self._open_store(options)
        registrar = Registrar(
            options.machine,
            options.address,
            store=store,
            mirror=self.mirror,
            lease=lease,
            containers=MachineContainers(paths.docker_socket),
            forwards=forwards,
            state=paths.state,
            check_seconds=tunables.check_seconds,
        )
        files = watching.from_options(options, self.mirror)

        def others() -> Iterable[Problem]:
            return (
                *registrar.problems,
                *(Problem("", f"template {problem.resource}", problem.reason) for problem in files.problems()),
            )

        made = self._make_router(options, publication, forwards, others)
        registrar.subscribe(made[1].wake)
        self.parts += [registrar, files]
        tell = self.telemetry
        tell.route("POST", deregistration.PATH, deregistration.Departures(registrar, store).answer)
        client = haproxy.Haproxy(paths.admin_socket, paths.master_socket)
        tell.route("GET", connections.PATH, connections.Connections(client, made[1].let_go).answer)
        tell.route("POST", MACHINE_STATUS, MachineStatus(options).answer)
        tell.status("registrar", lambda: {"instances": registrar.states, "failure": registrar.failure})
        tell.status("templates", files.status)
        tell.check("registrar", lambda: registrar.failure)
        return made


def _report_publication(tell: Telemetry, lease: Lease, publication: Publication) -> None:
    tell.check("lease", lambda: lease.trouble.reason, ready_only=True)
    tell.check("publication", lambda: publication.trouble.reason, ready_only=True)
    tell.gauge("published_revision", "What /routers/NAME says, as far as we know.", lambda: publication.said)
    tell.gauge("lease_alive", "Whether the agent's lease was renewed within its time to live.", lambda: lease.alive)


def _report_etcd(tell: Telemetry, mirror: Mirror, alarms: AlarmFollower) -> None:
    tell.check("etcd", lambda: mirror.trouble.reason, ready_only=True)
    tell.check("alarms", lambda: alarms.trouble.reason, ready_only=True)
    tell.gauge("etcd_connected", "Whether the agent follows etcd just now.", lambda: mirror.connected)
    tell.gauge("etcd_revision", "The newest revision that the agent has heard of.", lambda: mirror.revision)
    tell.gauge("etcd_keys", "Keys that the agent holds.", lambda: len(mirror.entries))
    tell.total("etcd_listings", "How often all keys were listed anew.", lambda: mirror.listings)
    tell.status(
        "etcd",
        lambda: {
            "connected": mirror.connected,
            "revision": mirror.revision,
            "keys": len(mirror.entries),
            "listings": mirror.listings,
            "trouble": mirror.trouble.reason,
        },
    )


def _report_router(tell: Telemetry, router: Router, plans: Plans) -> None:
    tell.check("router", lambda: "its rounds don't move on" if time.monotonic() - router.beat > STUCK_SECONDS else "")
    tell.check("haproxy", lambda: router.trouble.reason, ready_only=True)
    tell.check("configuration", lambda: router.refused.reason, ready_only=True)
    tell.check("routes", lambda: "" if router.revision else "none were applied yet", ready_only=True)
    tell.status("router", router.status)
    tell.gauge("applied_revision", "Everything up to this revision is applied.", lambda: router.revision)
    tell.gauge("behind_seconds", "For how long something has not been applied.", lambda: router.behind_seconds)
    tell.gauge("haproxy_up", "Whether HAProxy answers.", lambda: not router.trouble.reason)
    tell.gauge("problems", "What only this machine can't do.", lambda: len(router.problems))
    tell.gauge("data_problems", "What is wrong with the data in etcd.", lambda: len(plans.problems))
    tell.gauge("services", "Services in etcd.", lambda: plans.counts()[0])
    tell.gauge("instances", "Their instances.", lambda: plans.counts()[1])
    tell.gauge("reload_seconds", "How long the last reload took, its check included.", lambda: router.loader.seconds)
    tell.total("reloads", "Reloads of HAProxy.", lambda: router.loader.reloads)
    tell.total("failed_reloads", "Configurations that HAProxy did not load.", lambda: router.loader.failures)
    tell.total("runtime_changes", "Changes of servers without a reload.", lambda: router.servers.changes)
