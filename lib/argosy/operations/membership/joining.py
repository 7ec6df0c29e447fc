"""What it takes for a machine to join: a place in etcd, its cloud-config file, its install."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from argosy import inventory, known_hosts, machine_etcd
from argosy.errors import Refused, Unhealthy
from argosy.fanout import attempt
from argosy.host import Host
from argosy.membership import Deed, Plan
from argosy.model import Image, Machine, MachineState
from argosy.operations import cloudconfig, install, journal, registry, secrets
from argosy.operations.membership.actions import Action, action
from argosy.operations.membership.observing import Work
from argosy.versions import parse_version

POLL_SECONDS = 0.5
VOTE_SECONDS = 60.0
"""How long an installed newcomer's promotion may take to be seen."""
ASIDE = "of-another-membership"


class Joiner:
    """The newcomer `machine`, and what `plan` says of its place in etcd.

    `as_member`: it runs etcd in the end; `votes`: it has its vote now; `serves`: it is installed and in service.
    """

    def __init__(self, work: Work, machine: Machine, plan: Plan, *, install: bool, format: str = "") -> None:
        self.work = work
        self.machine = machine
        self.plan = plan
        self.install = install
        self.format = format
        present, record = work.seen.cluster.member(machine.name), work.seen.records.get(machine.name)
        self.as_member = present is not None or plan.has(Deed.ADD_LEARNER)
        self.votes = present is not None and not present.learner and present.started
        self.serves = record is not None and record.state == MachineState.ACTIVE and self.votes == self.as_member

    @cached_property
    def release(self) -> Image:
        return release_for(self.work)

    @property
    def cloud_config(self) -> Path:
        return cloudconfig.paths(self.work.settings, [self.machine], self.format)[self.machine.name]

    @property
    def votes_in_the_end(self) -> bool:
        return self.votes or (self.as_member and self.install)

    def actions(self) -> Iterator[Action]:
        """Yield what brings the machine in, as far as that can be done from here: to its install only if so wished.

        Raises Refused for a machine that runs already and would have to change, unless its install is wished.
        """
        name, settings = self.machine.name, self.work.settings
        if self.plan.has(Deed.ADD_LEARNER):
            if self.work.seen.machine(name) and not self.install:
                raise Refused(f"{name} is set up already and would have to change: give --install to make it a member")
            if self._has_old_data():
                yield action(name, "set aside etcd's data of an earlier membership", self._set_aside)
            yield action(name, "add it to etcd as a learner", self._add)
        if not self.serves and self._file_differs():
            yield action(
                name, f"{'replace' if self.cloud_config.exists() else 'write'} {self.cloud_config}", self._write
            )
        if name not in {it.name for it in inventory.load(settings)}:
            yield action("here", f"remember {name}", self._remember)
        if self.install and not self.serves:
            yield action(name, "wait for ssh, bring what its cloud-config lacks", self._bring_files)
            yield action(name, "upload its secrets, follow its install", self._install)
            if self.as_member and not self.votes:
                yield action(name, "wait for its vote in etcd", self._wait_for_vote)
            if self._is_draining():
                yield action(name, "put it back in service", self._undrain)

    def next_steps(self) -> list[str]:
        """Return what is left for somebody else to do, if anything is."""
        if self.install or self.serves:
            return []
        return [
            f"boot {self.machine.name} with {self.cloud_config}, pin its host key "
            f"(inv cluster.trust {self.machine.address}), then run the same with --install"
        ]

    # Its place in etcd

    def _add(self) -> None:
        settings = self.work.settings
        self.work.store.member_add([f"https://{self.machine.address}:{settings.etcd.peer_port}"])
        self.work.look()

    def _members(self) -> list[Machine]:
        """Return who runs etcd when the machine has joined: what its etcd is told to begin with has to be just that."""
        others = [it for it in self.work.seen.running_etcd() if it.address != self.machine.address]
        return [*others, *([self.machine] if self.as_member else [])]

    def _wait_for_vote(self) -> None:
        deadline, name = time.monotonic() + VOTE_SECONDS, self.machine.name
        while (member := self.work.look().cluster.member(name)) is None or member.learner:
            if time.monotonic() > deadline:
                raise Unhealthy(f"{name}: installed, but still without a vote in etcd; see inv cluster.logs etcd")
            threading.Event().wait(POLL_SECONDS)

    def _undrain(self) -> None:
        self.work.draining.put_back(self.work.hosts[self.machine])

    def _is_draining(self) -> bool:
        record = self.work.seen.records.get(self.machine.name)
        return record is not None and record.state == MachineState.DRAINING

    # Its files, here and there

    def _file_differs(self) -> bool:
        work = self.work
        return bool(
            cloudconfig.plan(
                work.settings,
                [self.machine],
                self.format,
                release=self.release,
                initial_state="existing",
                members=self._members(),
            )
        )

    def _write(self) -> None:
        work = self.work
        cloudconfig.write(
            work.settings,
            [self.machine],
            work.report,
            self.format,
            release=self.release,
            initial_state="existing",
            members=self._members(),
        )

    def _remember(self) -> None:
        inventory.remember(self.work.settings, [self.machine])
        self.work.known = (*self.work.known, self.machine)

    def _bring_files(self) -> None:
        work, seconds = self.work, self.work.settings.install.deadline_seconds
        self._host.wait_for_login(seconds)
        self._host.run(machine_etcd.wait_for_boot(), timeout_seconds=seconds)
        cloudconfig.apply(
            work.hosts,
            work.settings,
            [self.machine],
            work.report,
            release=self.release,
            initial_state="existing",
            members=self._members(),
        )

    def _install(self) -> None:
        work, settings = self.work, self.work.settings
        secrets.upload(work.hosts, settings, [self.machine], work.report)
        self._host.run(machine_etcd.start(settings.system), sudo=True)
        install.follow_install(work.hosts, settings, [self.machine], work.report, settings.install.deadline_seconds)
        if self.as_member:
            # Those that we know may go, as when this one comes in the place of the only one.
            work.reach(self.machine)

    def _set_aside(self) -> None:
        system = self.work.settings.system
        self._host.run(machine_etcd.stop_etcd(system), sudo=True)
        self._host.run(machine_etcd.set_aside(system, ASIDE), sudo=True)

    def _has_old_data(self) -> bool:
        """Return whether there is data of an etcd. Of a machine that nobody could ask yet, no key is pinned."""
        settings = self.work.settings
        entry = known_hosts.entry_name(self.machine.address, settings.ssh.port)
        if entry not in known_hosts.read(settings.state_path / "known_hosts"):
            return False
        asked = attempt(lambda host: host.run(machine_etcd.observe(settings.system), sudo=True), self._host)
        return asked.ok and "data" in asked.get().stdout.split()

    @property
    def _host(self) -> Host:
        return self.work.hosts[self.machine]


def release_for(work: Work) -> Image:
    """Return the release that a newcomer installs: as the last rollout left it, else the newest that a machine runs,
    else the newest in the registry. Raises Refused when the registry lacks it."""
    wanted = None if work.seen.reason else journal.read_release(work.store)
    running = [version for it in work.seen.records.values() if (version := parse_version(it.release))]
    newest = str(max(running)) if running else ""
    return registry.current_release(work.settings, wanted.version if wanted else newest)
