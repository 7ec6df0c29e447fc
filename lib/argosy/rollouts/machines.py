"""The machines of a cluster as a rollout changes them: through ssh, and etcd under the lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from argosy.beside import Beside
from argosy.cluster.events import Checked, Events
from argosy.cluster.opening import OpenCluster
from argosy.cluster.release import Release
from argosy.discovery.draining import default_deadline_seconds
from argosy.discovery.routers import wait_until_applied
from argosy.draining import balancers
from argosy.draining.machine import Draining, others_in_service
from argosy.errors import CommandFailed, HostUnreachable, LockLost, Refused, Unhealthy
from argosy.images.repositories import registry_prefix
from argosy.machine import install
from argosy.machine.images import remove_images
from argosy.paths import Names
from argosy.rollouts import scripts as rollout_scripts
from argosy.rollouts.gates import Gates
from argosy.rollouts.preflight import RemotePreflight
from argosy.schema import ROUTERS, SERVICES
from argosy.ssh.commands import Result
from argosy.ssh.shell import Script

POLL_SECONDS = 0.1


class RemoteMachines(RemotePreflight):
    """The interface `Machines`. `images_of`: the references of all images that a release needs."""

    def __init__(
        self,
        work: OpenCluster,
        events: Events,
        release_of: Callable[[str], Release],
        images_of: Callable[[Release], Sequence[str]],
    ) -> None:
        super().__init__(work, release_of)
        self._events = events
        self._lock = work.holding
        self._images_of = images_of
        self._program_names = Names(work.settings.system)
        self._gates = Gates(work.settings, work.store, work.clock)
        self._draining = Draining(work)
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
        script = rollout_scripts.install(self._program_names, release, self._lock.holder.id)
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
            with self._store.hint(SERVICES, ROUTERS) as hint:
                self._wait_for_gates(name, self._gates.of_service(host), hint.wait)
            applied = wait_until_applied(self._store, revision, default_deadline_seconds(self._settings))
            seconds = balancers.seconds_until_back(self._settings, applied.routers, [host.name for host in self._hosts])
            self._known_back_at[name] = self._clock.elapsed() + seconds
        updates.result()
        self._draining.give_back(host)

    def clean_up(self, name: str, keep: Sequence[Release]) -> None:
        """Remove old images from the machine. See `Machines`."""
        images = [image for release in keep if release.image for image in self._images_of(release)]
        registry, prefix = self._settings.registry.address, registry_prefix(self._settings)
        removed = self._run(name, remove_images(registry, prefix, images)).stdout.strip()
        if removed != "0":
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
