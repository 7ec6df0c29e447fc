"""What every change of a local cluster begins with: look at the host, the machines, and what is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from shutil import which

import docker

from argosy import inventory
from argosy.config.loading import Settings
from argosy.config.references import split_address
from argosy.engine.checkout import Choice, path_of_original, save_record
from argosy.engine.connection import connect, is_free_port
from argosy.engine.names import container_name
from argosy.engine.ownership import adopt
from argosy.errors import Refused
from argosy.local import balancer, choice, dependencies, facts, lock, preflight, record
from argosy.local.addressing import LOOPBACK, choose_bip, host_address
from argosy.local.makers.base import ABSENT, ENGINE, VAGRANT
from argosy.local.makers.vagrant import has_vagrant
from argosy.local.place import choose_place, place_of, ports_to_try, said_of
from argosy.local.settings import localized
from argosy.local.work import LocalWork, maker_of
from argosy.model import Machine
from argosy.report import Report


@contextmanager
def opened(settings: Settings, task: str = "") -> Iterator[tuple[Settings, docker.DockerClient]]:
    """Give the settings as they are on this host, and its engine; under the local cluster's lock for a `task` that
    changes it. Raises ConfigError for a cluster of another provider, Refused where its state is another checkout's,
    LockHeld, EngineError."""
    preflight.refuse_other_provider(settings)
    if original := path_of_original(settings):
        raise Refused(
            f"{settings.state_path} is a copy of that of the checkout {original}, whose cluster it is: work there, or "
            f"`rm -r {settings.state_path}` here for a cluster of this one's own"
        )
    with lock.held(settings, task) if task else nullcontext(), connect() as client:
        adopt(client, settings)
        if task:
            save_record(settings)
        yield localized(settings), client


def settled(settings: Settings, client: docker.DockerClient, report: Report, *, save: bool) -> Settings:
    """Return the settings as they are on this host, beside the clusters of other checkouts that are there.

    A cluster that has its network, or machines, stays where it is. `settings`: as the configuration has them;
    `save`: what is chosen is kept.
    """
    here = localized(settings)
    observed = facts.observe(here, client, ())
    states = maker_of(here, client, ENGINE).states(inventory.load(here))
    made = observed.network in observed.networks or any(state != ABSENT for state in states.values())
    if made or not observed.claims:
        return here
    taken = [subnet for subnets in observed.networks.values() for subnet in subnets]
    free = [port for port in ports_to_try(here) if is_free_port(LOOPBACK, port)]
    place = choose_place(here, observed.claims, [*taken, *observed.routes], free)
    changed = place_of(here).differences(place)
    if not changed:
        return here
    for line in said_of(settings, place):
        report("host", line)
    chosen = {key: Choice(*pair) for key, pair in place_of(settings).differences(place).items()}
    if save:
        save_record(settings, chosen=chosen)
    return localized(settings, chosen=chosen)


def look(settings: Settings, client: docker.DockerClient, machines: Iterable[Machine], report: Report) -> LocalWork:
    """Return what the phases work with, for `machines`; whoever calls says which of them it is about. Changes nothing.

    `settings`: localized.
    """
    chosen = list({machine.name: machine for machine in machines}.values())
    observed = facts.observe(settings, client, _listeners(settings))
    states = maker_of(settings, client, ENGINE).states(chosen)
    return LocalWork(settings, chosen, client, observed, states, record.load(settings), report)


def choose_maker(work: LocalWork, *, needed: bool) -> None:
    """Choose what makes the machines, and say so where it is not Vagrant for lack of it. Raises Refused.

    `needed`: it is refused where it is not installed.
    """
    vagrant, wanted = has_vagrant(), work.settings.local.maker
    maker = choice.maker(work.settings, work.record.maker, work.states, vagrant)
    if needed and maker == VAGRANT and not vagrant:
        raise Refused(
            "vagrant is not installed: `apt-get install vagrant`, or `make demo`, which installs what is missing; or "
            "`inv local.stop`, and local.maker: engine"
        )
    if needed and maker == ENGINE and which("docker") is None:
        raise Refused("Docker's own command is not installed: `apt-get install docker-cli`, or docker.io")
    if maker == ENGINE and wanted == "auto" and work.record.maker != maker:
        work.report("machines", "vagrant is not installed: the Docker engine makes them (local.maker)")
    work.record = replace(work.record, maker=maker)


def complete(work: LocalWork) -> None:
    """Choose the range of the machines' own engines once: it stays as long as the cluster."""
    taken = [*work.facts.others(), work.settings.local.subnet]
    bip = work.record.bip or choose_bip(work.settings.docker.bip, taken)
    work.record = replace(work.record, bip=bip)
    work.settings = localized(work.settings, bip)


def _listeners(settings: Settings) -> list[facts.Listener]:
    port = split_address(settings.registry.address)[1]
    name = container_name(settings, "registry")
    addresses = settings.registry.bind or [LOOPBACK, host_address(settings)]
    own = [facts.Listener("registry.address", name, address, port) for address in addresses]
    return [*own, *balancer.listeners(settings), *dependencies.listeners(settings)]
