"""The second half of `local.start`: machines that boot, get their secrets, install, and serve."""

from __future__ import annotations

from dataclasses import replace

from tenacity import RetryError as StillWaiting
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from argosy import known_hosts
from argosy.errors import DeadlineExceeded, HostKeyMismatch, Unhealthy
from argosy.host import Hosts, joined
from argosy.model import Machine, Step
from argosy.operations import cloudconfig, install, secrets, status
from argosy.operations.local import balancer, record, retry
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work
from argosy.providers.base import Boot

POLL_SECONDS = 0.2
GATE_SECONDS = 60


class CloudConfig(Phase[Work]):
    """For machines that don't exist yet: the others have booted with theirs, which only have to be there."""

    title = "cloud-config"

    def plan(self, work: Work) -> list[Step]:
        paths = cloudconfig.paths(work.settings, work.machines)
        return [
            Step(machine.name, "write its cloud-config")
            for machine in work.down
            if machine in work.absent or not paths[machine.name].exists()
        ]

    def run(self, work: Work) -> bool:
        if work.record.release is None or len(work.absent) == len(work.machines):
            work.record = replace(work.record, release=work.newest_release)
            record.save(work.settings, work.record)
        cloudconfig.write(work.settings, work.machines, work.report, release=work.record.release)
        return True


class Machines(Phase[Work]):
    title = "machines"

    def plan(self, work: Work) -> list[Step]:
        return [
            Step(machine.name, f"{'make' if machine in work.absent else 'boot'} it at {machine.address}")
            for machine in work.down
        ]

    def run(self, work: Work) -> bool:
        settings = work.settings
        for machine in work.absent:
            known_hosts.forget(settings.state_path / "known_hosts", machine.address, settings.ssh.port)
        paths = cloudconfig.paths(settings, work.machines)
        provider = work.provider(work.image(settings.local.machine_image) if work.uses_containers else "")
        provider.up([Boot(machine, paths[machine.name]) for machine in work.machines])
        return True


class Ssh(Phase[Work]):
    """Pin each machine's host key, read past the network that it secures, and wait until it lets us in."""

    title = "ssh"

    def plan(self, work: Work) -> list[Step]:
        return [Step(machine.name, "pin its host key, wait for ssh") for machine in work.machines]

    def run(self, work: Work) -> bool:
        changed = [self._pin(work, machine) for machine in work.machines]
        with Hosts(work.settings, work.machines) as hosts:
            deadline = work.settings.local.boot_deadline_seconds
            joined(hosts.each(lambda host: host.wait_for_login(deadline), what="Waiting for ssh"))
        return any(changed)

    def _pin(self, work: Work, machine: Machine) -> bool:
        settings = work.settings
        path = settings.state_path / "known_hosts"
        name = known_hosts.entry_name(machine.address, settings.ssh.port)
        keys = self._host_keys(work, machine)
        pinned = [str(key) for key in known_hosts.read(path).get(name, ())]
        if pinned and not set(pinned) & set(keys):
            raise HostKeyMismatch(
                machine.name,
                f"its host key is not the one that was pinned when it was made: make it anew with `inv local.stop`, "
                f"or look first (`inv cluster.trust {machine.address}`)",
            )
        return False if pinned else known_hosts.pin(path, machine.address, settings.ssh.port, *keys)

    def _host_keys(self, work: Work, machine: Machine) -> list[str]:
        provider = work.provider()
        deadline = work.settings.local.boot_deadline_seconds
        waiting = Retrying(
            retry=retry_if_result(lambda keys: not keys), stop=stop_after_delay(deadline), wait=wait_fixed(POLL_SECONDS)
        )
        try:
            return list(waiting(provider.host_keys, machine))
        except StillWaiting:
            last = (provider.console(machine).strip().splitlines() or ["nothing on its console"])[-1]
            raise DeadlineExceeded(
                f"{machine.name}: no ssh host key after {deadline:g} s; its console ends: {last}"
            ) from None


class Retry(Phase[Work]):
    """Machines of an earlier run whose install failed: by now its cause may be repaired."""

    title = "retry"

    def plan(self, work: Work) -> list[Step]:
        return [Step(name, "try its failed install again") for name in retry.names_of_failed(retry.tried(work))]

    def run(self, work: Work) -> bool:
        settings = work.settings
        tried = retry.tried(work)
        failed = [machine for machine in work.machines if machine.name in retry.names_of_failed(tried)]
        release = retry.wanted_release(tried, work.record.release or work.newest_release, work.newest_release)
        work.record = replace(work.record, release=release)
        record.save(settings, work.record)
        with Hosts(settings, failed) as hosts:
            secrets.upload(hosts, settings, failed, work.report)
            retry.again(hosts, settings, failed, release)
        for machine in failed:
            work.report(machine.name, f"tries release {release.version}")
        return bool(failed)


class Install(Phase[Work]):
    """All machines at once; each starts by itself when its last secret is there."""

    title = "install"

    def plan(self, work: Work) -> list[Step]:
        return [Step(machine.name, "upload its secrets, follow its install") for machine in work.machines]

    def run(self, work: Work) -> bool:
        settings = work.settings
        with Hosts(settings, work.machines) as hosts:
            uploaded = secrets.upload(hosts, settings, work.machines, work.report)
            install.follow_install(hosts, settings, work.machines, work.report, settings.install.deadline_seconds)
        return any(uploaded.values())


class Gate(Phase[Work]):
    """Nothing is said to be healthy that was not seen to be."""

    title = "health"
    takes_mixed_releases = False
    """Whether machines may be on different releases, as between upgrades of single ones."""

    def plan(self, _work: Work) -> list[Step]:
        return [Step("health", "ask every machine, every member, and the balancer")]

    def run(self, work: Work) -> bool:
        deadline = work.settings.local.boot_deadline_seconds if work.down else GATE_SECONDS
        waiting = Retrying(retry=retry_if_result(bool), stop=stop_after_delay(deadline), wait=wait_fixed(POLL_SECONDS))
        told: list[str] = []

        def problems() -> list[str]:
            found = self._problems(work, hosts)
            if found and found != told:
                work.report(self.title, f"not yet: {'; '.join(found)}")
                told[:] = found
            return found

        with Hosts(work.settings, work.machines) as hosts:
            try:
                waiting(problems)
            except StillWaiting as error:
                raise Unhealthy("; ".join(error.last_attempt.result())) from None
        return False

    def _problems(self, work: Work, hosts: Hosts) -> list[str]:
        seen = status.observe(work.settings, hosts)
        work.releases = seen.releases
        mixed = seen.differences() if self.takes_mixed_releases else []
        problems = [problem for problem in seen.problems() if problem not in mixed]
        if not work.settings.discovery.enabled:
            return problems
        up = {server.name for server in balancer.servers(work.settings, work.client) if server.up}
        down = [machine.name for machine in work.machines if machine.name not in up]
        problems += [f"{name}: the balancer does not find it up" for name in down]
        return problems or [reason for reason in [balancer.request(work.settings)] if reason]
