"""The first half of `local.start`: what the machines need on the host before they boot."""

from __future__ import annotations

from argosy import engine, inventory
from argosy.addressing import dynamic_range, host_address
from argosy.local_names import labels_of
from argosy.model import Step
from argosy.operations import build, registry, secrets
from argosy.operations.local import balancer, dependencies, record
from argosy.operations.local.procedure import Phase
from argosy.operations.local.work import Work


class Network(Phase[Work]):
    """First, so that the host has its address on it: the registry and the dependencies listen there."""

    title = "network"

    def plan(self, work: Work) -> list[Step]:
        if not work.uses_containers or work.network in work.facts.networks:
            return []
        return [Step("network", f"make {work.network} ({work.settings.local.subnet})")]

    def run(self, work: Work) -> bool:
        return engine.ensure_network(
            work.client,
            work.network,
            labels_of(work.settings, "network"),
            subnet=work.settings.local.subnet,
            gateway=host_address(work.settings),
            dynamic_range=dynamic_range(work.settings),
        )


class Remember(Phase[Work]):
    """Before anything is made, so that whatever a kill leaves behind is known to be ours."""

    title = "state"

    def plan(self, work: Work) -> list[Step]:
        if inventory.load(work.settings) == list(work.machines) and record.load(work.settings) == work.record:
            return []
        return [Step("state", f"remember {', '.join(machine.name for machine in work.machines)}")]

    def run(self, work: Work) -> bool:
        inventory.save(work.settings, work.machines)
        record.save(work.settings, work.record)
        return True


class Secrets(Phase[Work]):
    """The cluster's CA, its ssh key, passwords: whatever may be generated."""

    title = "secrets"

    def plan(self, _work: Work) -> list[Step]:
        return [Step("secrets", "make the CA, keys and passwords that are not there yet")]

    def run(self, work: Work) -> bool:
        made: list[str] = []

        def report(subject: str, message: str) -> None:
            made.append(message)
            work.report(subject, message)

        secrets.ensure_local(work.settings, work.machines, report)
        return bool(made)


class Registry(Phase[Work]):
    """Before the other images: it knows their versions, too, and decides with them which one comes next."""

    title = "registry"

    def plan(self, work: Work) -> list[Step]:
        return [Step("registry", f"build its image if it changed, run it at {work.settings.registry.address}")]

    def run(self, work: Work) -> bool:
        built = build.build_images(work.settings, work.report, only=[work.settings.local.registry_image])
        outcome = registry.start(work.settings, work.report)
        return outcome != "unchanged" or any(image.is_new for image in built)


class Images(Phase[Work]):
    title = "images"

    def plan(self, _work: Work) -> list[Step]:
        return [Step("images", "build and version what changed")]

    def run(self, work: Work) -> bool:
        return any(built.is_new for built in build.build_images(work.settings, work.report))


class Dependencies(Phase[Work]):
    title = "dependencies"

    def plan(self, work: Work) -> list[Step]:
        return [Step(name, "run it on the host") for name in work.settings.local.dependencies]

    def run(self, work: Work) -> bool:
        changed = False
        for name, entry in work.settings.local.dependencies.items():
            files = secrets.local_files(work.settings, entry.secrets)
            outcome = dependencies.ensure(work.settings, work.client, name, work.image(entry.image), files)
            work.report(name, outcome)
            changed |= outcome != "unchanged"
        return changed


class Release(Phase[Work]):
    """What machines need goes to the registry; the installer image, which pins it, is built and follows."""

    title = "release"

    def plan(self, _work: Work) -> list[Step]:
        return [Step("release", "push what the registry lacks, build the installer image and push it")]

    def run(self, work: Work) -> bool:
        built = build.build_installer(work.settings, work.report)
        pushed = registry.push(work.settings, work.report)
        return built.is_new or bool(pushed)


class Balancer(Phase[Work]):
    """Before the machines: from the first that is ready, requests are answered."""

    title = "balancer"

    def plan(self, work: Work) -> list[Step]:
        if not work.settings.discovery.enabled:
            return []
        names = ", ".join(machine.name for machine in work.machines)
        return [Step("balancer", f"run it on {balancer.address(work.settings)} before {names}")]

    def run(self, work: Work) -> bool:
        router, agent = (work.image(it) for it in balancer.images(work.settings))
        outcome = balancer.ensure(work.settings, work.client, router, agent, work.machines)
        work.report("balancer", f"{outcome}: {balancer.address(work.settings)}")
        return outcome != "unchanged"
