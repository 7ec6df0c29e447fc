"""What it takes for a machine to join: a place in etcd, its cloud-config file, its install, a place in the Swarm."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from argosy import inventory
from argosy.clock import wait_until
from argosy.cloudconfig import writing
from argosy.cluster.operator_record import OperatorRecord, present
from argosy.cluster.operators import read_records
from argosy.cluster.release import read_release
from argosy.engine.swarm_model import MANAGER, WORKER
from argosy.errors import HostUnreachable, Refused, Unhealthy
from argosy.etcd import quorum
from argosy.fanout import attempt, joined
from argosy.images.versions import parse_version
from argosy.machine import authorized, install, preparing
from argosy.membership import etcd_scripts
from argosy.membership.actions import Action, action
from argosy.membership.observing import Membership
from argosy.model import Image, Machine, MachineState
from argosy.registry import access
from argosy.secrets import syncing
from argosy.ssh import pins
from argosy.ssh.host import Host
from argosy.ssh.identity import refuse_without_key
from argosy.swarm import ensuring

VOTE_SECONDS = 60.0
"""How long an installed newcomer's promotion may take to be seen."""
ASIDE = "of-another-membership"


class JoiningMachine:
    """The newcomer `machine`, and what `plan` says of its place in etcd.

    `as_member`: it runs etcd in the end; `votes`: it has its vote now; `serves`: it is installed and in service.
    """

    def __init__(
        self, cluster: Membership, machine: Machine, plan: quorum.Plan, *, install: bool, format: str = ""
    ) -> None:
        self.cluster = cluster
        self.settings = cluster.settings
        self.machine = machine
        self.plan = plan
        self.install = install
        self.format = format
        present, record = cluster.seen.cluster.member(machine.name), cluster.seen.records.get(machine.name)
        self.as_member = present is not None or plan.has(quorum.Action.ADD_LEARNER)
        self.votes = present is not None and not present.learner and present.started
        self.serves = record is not None and record.state == MachineState.ACTIVE and self.votes == self.as_member
        self._drains = record is not None and record.state == MachineState.DRAINING

    @cached_property
    def release(self) -> Image:
        """The release that it installs: as the last rollout left it, else the newest that a machine runs, else the
        newest in the registry. Raises Refused when the registry lacks it."""
        seen = self.cluster.seen
        wanted = None if seen.reason else read_release(self.cluster.store)
        running = [version for record in seen.records.values() if (version := parse_version(record.release))]
        newest = str(max(running)) if running else ""
        return access.current_release(self.settings, wanted.version if wanted else newest)

    @property
    def cloud_config(self) -> Path:
        return writing.paths(self.settings, [self.machine], self.format)[self.machine.name]

    @property
    def votes_in_the_end(self) -> bool:
        return self.votes or (self.as_member and self.install)

    def actions(self) -> Iterator[Action]:
        """Yield what brings the machine in, as far as that can be done from here: to its install only if asked for.

        Raises Refused for a machine that runs already and would have to change, unless its install is asked for;
        ConfigError without a key that the others know.
        """
        if not self.serves:
            refuse_without_key(self.settings)
        name = self.machine.name
        if self.plan.has(quorum.Action.ADD_LEARNER):
            if self.cluster.seen.machine(name) and not self.install:
                raise Refused(f"{name} is set up already and would have to change: give --install to make it a member")
            if self._has_old_data():
                yield action(name, "set aside etcd's data of an earlier membership", self._set_aside)
            yield action(name, "add it to etcd as a learner", self._add)
        if not self.serves and writing.plan(self.settings, [self.machine], self.format, **self._content()):
            verb = "replace" if self.cloud_config.exists() else "write"
            yield action(name, f"{verb} {self.cloud_config}", self._write)
        if name not in {machine.name for machine in inventory.load(self.settings)}:
            yield action("here", f"remember {name}", self._remember)
        if self.install and not self.serves:
            yield action(
                name, "wait for ssh, install what it lacks, bring what its cloud-config lacks", self._bring_files
            )
            # Before it serves: then there is nothing left to resume.
            if self._operators:
                names = ", ".join(self._operators)
                yield action(name, f"let the operators {names} in by ssh", self._let_operators_in)
            yield action(name, "upload its secrets, follow its install", self._install)
            if self.as_member and not self.votes:
                yield action(name, "wait for its vote in etcd", self._wait_for_vote)
            if self._drains:
                yield action(name, "put it back in service", lambda: self.cluster.draining.put_back(self._host))
        yield from self.swarm_actions()

    def swarm_actions(self) -> Iterator[Action]:
        """Yield what brings it, and whoever else is not in its place, into the Swarm: when it is installed."""
        if not self.settings.swarm.enabled or not (self.install or self.serves):
            return
        if self.serves and not self._swarm_differs():
            return
        role = MANAGER if self.votes_in_the_end else WORKER
        text = f"see that it is in the Swarm, as a {role}"
        yield action(self.machine.name, text, lambda: ensuring.ensure_or_tell(self.cluster))

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
        self.cluster.store.member_add([f"https://{self.machine.address}:{self.settings.etcd.peer_port}"])
        self.cluster.look()

    def _wait_for_vote(self) -> None:
        name = self.machine.name

        def votes() -> bool:
            member = self.cluster.look().cluster.member(name)
            return member is not None and not member.learner

        if not wait_until(votes, VOTE_SECONDS):
            raise Unhealthy(f"{name}: installed, but still without a vote in etcd; see inv cluster.logs etcd")

    def _set_aside(self) -> None:
        system = self.settings.system
        self._host.run(etcd_scripts.stop_etcd(system), sudo=True)
        self._host.run(etcd_scripts.set_aside(system, ASIDE), sudo=True)

    def _let_operators_in(self) -> None:
        for record in self._operators.values():
            authorized.let_in(self._host, record.ssh_key)

    @cached_property
    def _operators(self) -> dict[str, OperatorRecord]:
        """Who else works on the cluster, as far as etcd can be asked."""
        return {} if self.cluster.seen.reason else present(read_records(self.cluster.store))

    def _has_old_data(self) -> bool:
        """Return whether there is data of an etcd. Nobody could ask yet a machine whose key is not pinned, or that does
        not run. Raises what else keeps us from asking."""
        settings = self.settings
        if not pins.pinned(settings, self.machine):
            return False
        asked = attempt(lambda host: host.run(etcd_scripts.observe(settings.system), sudo=True), self._host)
        if type(asked.error) is HostUnreachable:
            return False
        return "data" in asked.get().stdout.split()

    def _swarm_differs(self) -> bool:
        """Return whether the Swarm is not as it must be, as far as it can be told."""
        try:
            return bool(ensuring.plan(self.cluster)[1].steps)
        except Refused:
            return True

    # Its files, here and there

    def _content(self) -> writing.Known:
        """Return what its files depend on: etcd begins with just those members that there are when it has joined."""
        others = [machine for machine in self.cluster.seen.running_etcd() if machine.address != self.machine.address]
        members = [*others, *([self.machine] if self.as_member else [])]
        keys = [record.ssh_key for record in self._operators.values()]
        return {"release": self.release, "initial_state": "existing", "members": members, "operators": keys}

    def _write(self) -> None:
        writing.write(self.settings, [self.machine], self.cluster.report, self.format, **self._content())

    def _remember(self) -> None:
        inventory.remember(self.settings, [self.machine])
        self.cluster.known = (*self.cluster.known, self.machine)

    def _bring_files(self) -> None:
        cluster, seconds = self.cluster, self.settings.install.deadline_seconds
        self._host.wait_for_login(seconds)
        self._host.run(etcd_scripts.wait_for_boot(), timeout_seconds=seconds)
        needs = joined(preparing.look(cluster.hosts, self.settings, [self.machine]))
        preparing.refuse(needs)
        preparing.install(cluster.hosts, self.settings, needs, cluster.report)
        writing.apply(cluster.hosts, self.settings, [self.machine], cluster.report, **self._content())

    def _install(self) -> None:
        cluster, settings = self.cluster, self.settings
        syncing.upload(cluster, [self.machine], syncing.refuse_taking, cluster.seen.machines)
        self._host.run(etcd_scripts.start(settings.system), sudo=True)
        seconds = settings.install.deadline_seconds
        install.follow_install(cluster.hosts, settings, [self.machine], cluster.report, seconds)
        if self.as_member:
            # Those that we know may go, as when this one comes in the place of the only one.
            cluster.reach(self.machine)

    @property
    def _host(self) -> Host:
        return self.cluster.hosts[self.machine]
