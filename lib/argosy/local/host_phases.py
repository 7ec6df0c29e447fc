"""The first half of `local.start`: what the machines need on the host before they boot."""

from __future__ import annotations

from argosy import inventory
from argosy.builds import images, installer
from argosy.cluster.opening import OpenCluster
from argosy.engine import containers as engine
from argosy.engine.names import labels_of
from argosy.local import balancer, dependencies, record
from argosy.local.addressing import dynamic_range, host_address
from argosy.local.procedure import Phase
from argosy.local.work import LocalWork
from argosy.model import Step
from argosy.pki.authority import authority_path
from argosy.registry import container, push
from argosy.secrets import syncing, upload


class Network(Phase[LocalWork]):
    """First, so that the host has its address on it: the registry and the dependencies listen there."""

    title = "network"

    def plan(self, work: LocalWork) -> list[Step]:
        if not work.uses_containers or work.network in work.facts.networks:
            return []
        return [Step("network", f"make {work.network} ({work.settings.local.subnet})")]

    def run(self, work: LocalWork) -> bool:
        return engine.ensure_network(
            work.client,
            work.network,
            labels_of(work.settings, "network"),
            subnet=work.settings.local.subnet,
            gateway=host_address(work.settings),
            dynamic_range=dynamic_range(work.settings),
        )


class SaveRecord(Phase[LocalWork]):
    """Before anything is made, so that whatever a kill leaves behind is known to be ours."""

    title = "state"

    def plan(self, work: LocalWork) -> list[Step]:
        if inventory.load(work.settings) == list(work.machines) and record.load(work.settings) == work.record:
            return []
        return [Step("state", f"remember {', '.join(machine.name for machine in work.machines)}")]

    def run(self, work: LocalWork) -> bool:
        inventory.save(work.settings, work.machines)
        record.save(work.settings, work.record)
        return True


class Secrets(Phase[LocalWork]):
    """The cluster's CA, its ssh key, passwords: whatever may be generated."""

    title = "secrets"

    def plan(self, _work: LocalWork) -> list[Step]:
        return [Step("secrets", "make the CA, keys and passwords that are not there yet")]

    def run(self, work: LocalWork) -> bool:
        made: list[str] = []

        def report(subject: str, message: str) -> None:
            made.append(message)
            work.report(subject, message)

        self._refuse_lost(work)
        upload.ensure_local(work.settings, work.machines, report)
        return bool(made)

    def _refuse_lost(self, work: LocalWork) -> None:
        """Raise Refused when something is about to be made anew that the machines have."""
        there = [machine for machine in work.machines if machine not in work.absent]
        lacks = bool(upload.to_make(work.settings)) or not authority_path(work.settings.secrets_path).exists()
        if there and lacks:
            with OpenCluster(work.settings, work.report, machines=there) as cluster:
                syncing.check(cluster)


class Registry(Phase[LocalWork]):
    """Before the other images: it knows their versions, too, and decides with them which one comes next."""

    title = "registry"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step("registry", f"build its image if it changed, run it at {work.settings.registry.address}")]

    def run(self, work: LocalWork) -> bool:
        built = images.build_images(work.settings, work.report, only=[work.settings.local.registry_image])
        outcome = container.start(work.settings, work.report)
        return outcome != "unchanged" or any(image.is_new for image in built)


class Images(Phase[LocalWork]):
    title = "images"

    def plan(self, _work: LocalWork) -> list[Step]:
        return [Step("images", "build and version what changed")]

    def run(self, work: LocalWork) -> bool:
        return any(built.is_new for built in images.build_images(work.settings, work.report))


class Dependencies(Phase[LocalWork]):
    title = "dependencies"

    def plan(self, work: LocalWork) -> list[Step]:
        return [Step(name, "run it on the host") for name in work.settings.local.dependencies]

    def run(self, work: LocalWork) -> bool:
        changed = False
        for name, entry in work.settings.local.dependencies.items():
            files = upload.local_files(work.settings, entry.secrets)
            outcome = dependencies.ensure(work.settings, work.client, name, work.image(entry.image), files)
            work.report(name, outcome)
            changed |= outcome != "unchanged"
        return changed


class Release(Phase[LocalWork]):
    """What machines need goes to the registry; the installer image, which pins it, is built and follows."""

    title = "release"

    def plan(self, _work: LocalWork) -> list[Step]:
        return [Step("release", "push what the registry lacks, build the installer image and push it")]

    def run(self, work: LocalWork) -> bool:
        built = installer.build_installer(work.settings, work.report)
        pushed = push.push(work.settings, work.report)
        return built.is_new or bool(pushed)


class Balancer(Phase[LocalWork]):
    """Before the machines: from the first that is ready, requests are answered."""

    title = "balancer"

    def plan(self, work: LocalWork) -> list[Step]:
        if not work.settings.discovery.enabled:
            return []
        names = ", ".join(machine.name for machine in work.machines)
        return [Step("balancer", f"run it on {balancer.address(work.settings)} before {names}")]

    def run(self, work: LocalWork) -> bool:
        discovery = work.settings.discovery
        router, agent = work.image(discovery.router_image), work.image(discovery.agent_image)
        outcome = balancer.ensure(work.settings, work.client, router, agent, work.machines)
        work.report("balancer", f"{outcome}: {balancer.address(work.settings)}")
        return outcome != "unchanged"
