"""The second half of `local.start`: machines that boot, get their secrets, install, and serve."""

from __future__ import annotations

from dataclasses import replace
from operator import not_

from argosy.clock import retry_for, wait_until
from argosy.cloudconfig import writing
from argosy.cluster.opening import OpenCluster
from argosy.errors import (
    DeadlineExceeded,
    EngineError,
    EtcdError,
    HostKeyMismatch,
    HostUnreachable,
    LockHeld,
    Refused,
    Unhealthy,
)
from argosy.fanout import joined
from argosy.local import balancer, choice, record, retry
from argosy.local.procedure import Phase
from argosy.local.work import LocalWork
from argosy.machine import install, retrying
from argosy.membership import swarm_task
from argosy.model import Machine, Step
from argosy.secrets import syncing
from argosy.services.changing import submit_all
from argosy.ssh import pins
from argosy.ssh.host import Hosts
from argosy.status import observing

GATE_SECONDS = 60


class CloudConfig(Phase[LocalWork]):
    """For machines that don't exist yet: the others have booted with theirs, which only have to be there."""

    title = "cloud-config"

    def plan(self, work: LocalWork) -> list[Step]:
        paths = writing.paths(work.settings, work.machines)
        return [
            Step(machine.name, "write its cloud-config")
            for machine in work.down
            if machine in work.absent or not paths[machine.name].exists()
        ]

    def run(self, work: LocalWork) -> bool:
        if work.record.release is None or len(work.absent) == len(work.machines):
            work.record = replace(work.record, release=work.newest_release)
            record.save(work.settings, work.record)
        writing.write(work.settings, work.machines, work.report, release=work.record.release)
        return True


class Machines(Phase[LocalWork]):
    title = "machines"

    def plan(self, work: LocalWork) -> list[Step]:
        return [
            Step(machine.name, f"{'make' if machine in work.absent else 'boot'} it at {machine.address} {work.by}")
            for machine in work.down
        ]

    def run(self, work: LocalWork) -> bool:
        settings = work.settings
        for machine in work.absent:
            pins.forget(settings, machine)
        work.up(work.machines)
        return True


class Ssh(Phase[LocalWork]):
    """Pin each machine's host key, read past the network that it secures, and wait until it lets us in."""

    title = "ssh"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step(machine.name, "pin its host key, wait for ssh") for machine in work.machines]

    def run(self, work: LocalWork) -> bool:
        changed = [self._pin(work, machine) for machine in work.machines]
        with Hosts(work.settings, work.machines) as hosts:
            deadline = work.settings.local.boot_deadline_seconds
            joined(hosts.each(lambda host: host.wait_for_login(deadline), what="Waiting for ssh"))
        return any(changed)

    def _pin(self, work: LocalWork, machine: Machine) -> bool:
        settings = work.settings
        keys = self._host_keys(work, machine)
        pinned = [str(key) for key in pins.pinned(settings, machine)]
        if pinned and not set(pinned) & set(keys):
            raise HostKeyMismatch(
                machine.name,
                f"its host key is not the one that was pinned when it was made: make it anew with `inv local.stop`, "
                f"or look first (`inv cluster.trust {machine.address}`)",
            )
        return False if pinned else pins.pin(settings, machine, *keys)

    def _host_keys(self, work: LocalWork, machine: Machine) -> list[str]:
        maker = work.maker()
        deadline = work.settings.local.boot_deadline_seconds
        keys = wait_until(lambda: maker.host_keys(machine), deadline)
        if not keys:
            last = (maker.console(machine).strip().splitlines() or ["nothing on its console"])[-1]
            raise DeadlineExceeded(f"{machine.name}: no ssh host key after {deadline:g} s; its console ends: {last}")
        return list(keys)


class Retry(Phase[LocalWork]):
    """Machines of an earlier run whose install failed: by now its cause may be repaired."""

    title = "retry"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step(name, "try its failed install again") for name in choice.names_of_failed(retry.tried(work))]

    def run(self, work: LocalWork) -> bool:
        settings = work.settings
        tried = retry.tried(work)
        failed = [machine for machine in work.machines if machine.name in choice.names_of_failed(tried)]
        release = choice.wanted_release(tried, work.record.release or work.newest_release, work.newest_release)
        work.record = replace(work.record, release=release)
        record.save(settings, work.record)
        with OpenCluster(settings, work.report, machines=work.machines) as cluster:
            syncing.upload(cluster, failed, work.agree)
            retrying.again(cluster.hosts, settings, failed, release)
        for machine in failed:
            work.report(machine.name, f"tries release {release.version}")
        return bool(failed)


class Install(Phase[LocalWork]):
    """All machines at once; each starts by itself when its last secret is there."""

    title = "install"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step(machine.name, "upload its secrets, follow its install") for machine in work.machines]

    def run(self, work: LocalWork) -> bool:
        settings = work.settings
        seconds = settings.install.deadline_seconds
        with OpenCluster(settings, work.report, machines=work.machines) as cluster:
            uploaded = syncing.upload(cluster, work.machines, work.agree)
            install.follow_install(cluster.hosts, settings, work.machines, work.report, seconds)
            syncing.settle(cluster, work.machines)
        return any(uploaded.changes.values())


class Swarm(Phase[LocalWork]):
    """All machines are installed by now; but of those that have just booted, etcd and the engine may not be up yet."""

    title = "swarm"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step("swarm", "see that all machines are in one Swarm")] if work.settings.swarm.enabled else []

    def run(self, work: LocalWork) -> bool:
        seconds = work.settings.local.boot_deadline_seconds if work.down else GATE_SECONDS
        done = retry_for(seconds, lambda: swarm_task.ensure(work.settings, work.report), _may_pass, every=1)
        return bool(done.steps)


def _may_pass(error: Exception) -> bool:
    waits = isinstance(error, EtcdError | EngineError | HostUnreachable | Refused)
    return waits and not isinstance(error, LockHeld)


class Gate(Phase[LocalWork]):
    """Nothing is said to be healthy that was not seen to be."""

    title = "health"
    takes_mixed_releases = False
    """Whether machines may be on different releases, as between upgrades of single ones."""

    def plan(self, _work: LocalWork) -> list[Step]:
        return [Step("health", "ask every machine, every member, and the balancer")]

    def run(self, work: LocalWork) -> bool:
        deadline = work.settings.local.boot_deadline_seconds if work.down else GATE_SECONDS
        told: list[str] = []

        def problems() -> list[str]:
            found = self._problems(work, hosts)
            if found and found != told:
                work.report(self.title, f"not yet: {'; '.join(found)}")
                told[:] = found
            return found

        with Hosts(work.settings, work.machines) as hosts:
            left = wait_until(problems, deadline, done=not_)
        if left:
            raise Unhealthy("; ".join(left))
        return False

    def _problems(self, work: LocalWork, hosts: Hosts) -> list[str]:
        seen = observing.observe(work.settings, hosts)
        work.releases = seen.releases
        mixed = seen.differences() if self.takes_mixed_releases else []
        problems = [problem for problem in seen.problems() if problem not in mixed]
        if not work.settings.discovery.enabled:
            return problems
        up = {server.name for server in balancer.servers(work.settings, work.client) if server.up}
        down = [machine.name for machine in work.machines if machine.name not in up]
        problems += [f"{name}: the balancer does not find it up" for name in down]
        return problems or [reason for reason in [balancer.request(work.settings)] if reason]


class Services(Phase[LocalWork]):
    """What runs on the healthy machines beside the services of their release."""

    title = "services"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step(name, "submit it, unless it was") for name in work.settings.scheduled]

    def run(self, work: LocalWork) -> bool:
        return submit_all(work.settings, work.report)
