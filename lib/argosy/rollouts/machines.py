"""The machines of a cluster as a rollout changes them: through ssh, and etcd under the lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from argosy import rollout_scripts
from argosy.config import Settings
from argosy.errors import CommandFailed, HostUnreachable, LockLost, Refused, Unhealthy
from argosy.etcd import Etcd
from argosy.events import Checked
from argosy.host import Hosts, Result
from argosy.machine_files import Names
from argosy.operations import balancers, install
from argosy.operations.beside import Beside
from argosy.operations.clock import Clock
from argosy.operations.cluster_lock import ClusterLock
from argosy.operations.discovery.draining import default_deadline_seconds
from argosy.operations.discovery.routers import wait_until_applied
from argosy.operations.draining import Draining, others_in_service
from argosy.operations.rollout.gates import Gates
from argosy.operations.rollout.looking import Looking
from argosy.operations.rollout.seams import Events
from argosy.remote_shell import Script
from argosy.rollout_record import Release
from argosy.schema import ROUTERS, SERVICES

POLL_SECONDS = 0.1


class RemoteMachines(Looking):
    """The seam `Machines`. `images_of`: the references of all images that a release needs."""

    def __init__(
        self,
        settings: Settings,
        hosts: Hosts,
        store: Etcd,
        lock: ClusterLock,
        events: Events,
        clock: Clock,
        release_of: Callable[[str], Release],
        images_of: Callable[[Release], Sequence[str]],
    ) -> None:
        super().__init__(settings, hosts, store, events, clock, release_of)
        self._lock = lock
        self._images_of = images_of
        self._program_names = Names(settings.system)
        self._gates = Gates(settings, store, clock)
        self._draining = Draining(settings, hosts, store, lock, self._say, clock)
        self._known_back_at: dict[str, float] = {}

    def prepare(self, name: str, release: Release) -> None:
        """Bring the release and its images to the machine. See `Machines`."""
        lines: list[str] = []

        def line(text: str) -> None:
            lines.append(text)
            self._say(name, text)

        self._lock.check()
        ended = self._hosts[name].stream(
            rollout_scripts.prepare(self._program_names, release),
            sudo=True,
            check=False,
            on_line=line,
            on_error_line=line,
            deadline_seconds=self._settings.install.deadline_seconds,
        )
        if ended:
            reason = lines[-1] if lines else f"installer pull ended with {ended}"
            raise Refused(f"{name}: {reason.removeprefix('failed: ')}")

    def drain(self, name: str) -> None:
        """Take the machine out of service. See `Machines`."""
        self._wait_for_others(name)
        if not self._draining.take_out(self._hosts[name], last=lambda: self._hold_updates(name)):
            self._say(name, "no other machine is in service: its services are restarted where they are")
            self._hold_updates(name)

    def install(self, name: str, release: Release) -> None:
        """Put the release on the machine. See `Machines`."""
        if not release.image:
            raise Refused(f"{name}: which bytes release {release} is, is not known, so it can't be installed")
        script = rollout_scripts.install(self._program_names, release, self._lock.id)
        begun = self._run(name, script, check=False)
        if begun.code == rollout_scripts.LOCK_IS_ANOTHER_S:
            raise LockLost(f"{name}: found that somebody else holds the cluster's lock: nothing was begun there")
        if not begun.ok:
            words = begun.stderr.strip().rpartition("\n")[2] or f"it ended with {begun.code}"
            raise CommandFailed(f"{name}: the install could not be begun: {words}", begun)
        machine = self._hosts[name].machine
        deadline = self._settings.install.deadline_seconds
        install.follow_install(self._hosts, self._settings, [machine], self._say, deadline)

    def check(self, name: str, release: Release) -> None:
        """Wait until the machine passes all gates. See `Machines`."""
        self._wait_for_gates(name, lambda: self._gates.of_machine(self._hosts[name], release), self._lock.pause)

    def undrain(self, name: str) -> None:
        """Put the machine back in service, and wait until everybody sends to it. See `Machines`."""
        host = self._hosts[name]
        script = rollout_scripts.let_updates(self._program_names)
        updates = Beside(self._clock, f"updates-{name}", lambda: self._run(name, script))
        revision = self._draining.put_back(host)
        if self._settings.discovery.enabled:
            with self._store.bell(SERVICES, ROUTERS) as bell:
                self._wait_for_gates(name, self._gates.of_service(host), bell.wait)
            applied = wait_until_applied(self._store, revision, default_deadline_seconds(self._settings))
            seconds = balancers.seconds_until_back(self._settings, applied.routers, [it.name for it in self._hosts])
            self._known_back_at[name] = self._clock.elapsed() + seconds
        updates.result()

    def clean_up(self, name: str, keep: Sequence[Release]) -> None:
        """Remove old images from the machine. See `Machines`."""
        images = [image for release in keep if release.image for image in self._images_of(release)]
        script = rollout_scripts.clean_up(self._settings.registry.address, self._settings.system, images)
        removed = rollout_scripts.parse_number(self._run(name, script).stdout, "removed")
        if removed:
            self._say(name, f"{removed} old images removed")

    def cancel(self) -> None:
        self._hosts.cancel()

    # Parts

    def _run(self, name: str, script: Script, *, check: bool = True) -> Result:
        self._lock.check()
        return self._hosts[name].run(script, sudo=True, check=check)

    def _hold_updates(self, name: str) -> None:
        self._run(name, rollout_scripts.hold_updates(self._program_names))

    def _wait_for_others(self, name: str) -> None:
        """Wait until balancers have seen that somebody else is back in service, who may be the only one."""
        others = others_in_service(self._store, name)
        known_at = min((self._known_back_at.get(other, float("-inf")) for other in others), default=float("-inf"))
        self._lock.pause(max(0.0, known_at - self._clock.elapsed()))

    def _wait_for_gates(
        self, name: str, look: Callable[[], Mapping[str, str]], pause: Callable[[float], object]
    ) -> None:
        """Wait until no gate of `look` (check -> reason, empty when it passes) fails; tell each change of one."""
        deadline = self._clock.elapsed() + self._settings.rollout.check_seconds
        told: dict[str, str] = {}
        while True:
            self._lock.check()
            try:
                gates = dict(look())
            except HostUnreachable as error:
                gates = {"host": str(error).removeprefix(f"{name}: ")}
            for check, reason in gates.items():
                if told.get(check) != reason:
                    self._events(Checked(at=self._clock.now(), machine=name, check=check, reason=reason))
            told |= gates
            failing = [f"{check}: {reason}" for check, reason in gates.items() if reason]
            if not failing:
                return
            if self._clock.elapsed() >= deadline:
                raise Unhealthy(f"{name}: {'; '.join(failing)}")
            pause(POLL_SECONDS)
