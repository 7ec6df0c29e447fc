"""Make a cluster of servers that are up already and reachable by ssh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from argosy import inventory
from argosy.cloudconfig import writing
from argosy.cluster.opening import OpenCluster
from argosy.cluster.release import read_release
from argosy.config.loading import Settings
from argosy.errors import ArgosyError, Refused
from argosy.fanout import Outcome, Outcomes, joined
from argosy.machine import install, preparing, retrying
from argosy.machine.install_progress import State
from argosy.machine.needs import Needs
from argosy.membership import swarm_task
from argosy.model import Image, Machine, Step
from argosy.registry import access
from argosy.report import Report
from argosy.secrets import syncing


@dataclass(frozen=True, slots=True)
class Setup:
    """What a setup finds and would do. `needs`: of each server that could be asked; `unasked`: why the others could
    not; `refusal`: what else stands against it; `steps`: in their order, none while something stands against it;
    `release`: what those without one install; `installed`: who keeps its own; `releases`: what runs in the end."""

    needs: Mapping[str, Needs]
    unasked: Mapping[str, Exception] = field(default_factory=dict)
    installed: frozenset[str] = frozenset()
    refusal: ArgosyError | None = None
    steps: tuple[Step, ...] = ()
    release: Image | None = None
    releases: Mapping[str, str] = field(default_factory=dict)

    @property
    def installs(self) -> list[Step]:
        """What is installed on servers, which is asked for."""
        return [Step(name, str(found)) for name, found in self.needs.items() if found.to_install]

    def to_json(self) -> dict[str, Any]:
        """Return `{"machines": [{"machine", "packages": [NAME], "start_docker": bool, "problems": [TEXT]}], "steps":
        [{"subject", "action"}], "releases": {MACHINE: VERSION}}`."""
        machines: list[dict[str, Any]] = [
            {
                "machine": name,
                "packages": list(found.packages),
                "start_docker": found.start_docker,
                "problems": list(found.problems),
            }
            for name, found in self.needs.items()
        ]
        for name, error in self.unasked.items():
            machines.append({"machine": name, "packages": [], "start_docker": False, "problems": [str(error)]})
        steps = [step.to_json() for step in self.steps]
        return {"machines": machines, "steps": steps, "releases": dict(self.releases)}

    def refuse(self) -> None:
        """Raise Refused when something stands against it; what kept us from asking, with that, in HostsFailed."""
        if self.unasked:
            unfit = {name: Refused("; ".join(found.problems)) for name, found in self.needs.items() if found.problems}
            looked: dict[str, Outcome[None]] = {name: Outcome() for name in self.needs}
            looked |= {name: Outcome(error=error) for name, error in (*self.unasked.items(), *unfit.items())}
            joined(Outcomes("Looking at the servers", looked))
        preparing.refuse(self.needs)
        if self.refusal is not None:
            raise self.refusal


Agree = Callable[[Setup], None]
"""Asks whether servers may be given what they lack; raises Refused when they may not."""


def plan(settings: Settings, machines: Sequence[Machine]) -> Setup:
    """Return what `setup` would do. Looks at all servers, changes nothing, and raises nothing that they lack."""
    with OpenCluster(settings, machines=_known(settings, machines)) as cluster:
        return _plan(cluster, machines)


def setup(
    settings: Settings, machines: Sequence[Machine], report: Report, agree: Agree, agree_to_secrets: syncing.Agree
) -> Setup:
    """Install what servers lack, give them their files and units, then their secrets, follow the installs, and make the
    Swarm; return what was done. Idempotent; a machine whose install failed tries the newest release.

    Nothing is changed anywhere unless every server can be a machine and may have this checkout's secrets. `agree` is
    asked before anything is installed on a server, `agree_to_secrets` before secrets replace what machines hold. Raises
    HostsFailed, Refused, and what `syncing.upload`, `install.follow_install` and `swarm_task.ensure` raise.
    """
    with OpenCluster(settings, report, machines=_known(settings, machines)) as cluster:
        hosts = cluster.hosts
        planned = _plan(cluster, machines)
        for step in planned.installs:
            report(step.subject, f"needs: {step.action}")
        planned.refuse()
        release = planned.release
        assert release is not None
        if planned.installs:
            agree(planned)
        inventory.remember(settings, machines)
        preparing.install(hosts, settings, planned.needs, report)
        writing.apply(hosts, settings, machines, report, release=release, installed=planned.installed)
        tried = _tried(cluster, machines)
        retrying.choose(hosts, settings, _told_another(machines, tried, release), release)
        syncing.upload(cluster, machines, agree_to_secrets)
        failed = [machine for machine in machines if tried[machine.name].has_ended]
        for machine in failed:
            report(machine.name, f"its install did not succeed: it tries again, with release {release.version}")
        retrying.again(hosts, settings, failed, release)
        releases = install.follow_install(hosts, settings, machines, report, settings.install.deadline_seconds)
        syncing.settle(cluster, machines)
    if settings.swarm.enabled:
        swarm_task.ensure(settings, report)
    for name, version in releases.items():
        if version != release.version and len(set(releases.values())) > 1:
            report(name, f"it runs release {version}, others {release.version}: inv cluster.rolling-upgrade {name}")
    return replace(planned, releases=releases)


def _plan(cluster: OpenCluster, machines: Sequence[Machine]) -> Setup:
    hosts, settings = cluster.hosts, cluster.settings
    asked = retrying.asked(hosts, settings, machines)
    reached = [machine for machine in machines if asked[machine.name].ok]
    tried = {machine.name: state for machine in reached if (state := asked[machine.name].get())}
    installed = frozenset(name for name, state in tried.items() if state.is_active)
    looked = preparing.look(hosts, settings, reached, installed)
    unasked = {name: outcome.error for name, outcome in asked.items() if outcome.error is not None}
    unasked |= {name: outcome.error for name, outcome in looked.items() if outcome.error is not None}
    needs = {name: outcome.get() for name, outcome in looked.items() if outcome.ok}
    found = Setup(needs, unasked, installed)
    if unasked or any(each.problems for each in needs.values()):
        return found
    try:
        found = replace(found, release=_release(cluster, 0 < len(installed) < len(machines)))
        return replace(found, steps=tuple(_steps(cluster, machines, found, tried)))
    except ArgosyError as error:
        return replace(found, refusal=error)


def _steps(
    cluster: OpenCluster, machines: Sequence[Machine], found: Setup, tried: Mapping[str, State]
) -> Iterator[Step]:
    settings, release = cluster.settings, found.release
    files = writing.plan_apply(cluster.hosts, settings, machines, release=release, installed=found.installed)
    seen, uploads = syncing.plan(cluster, machines)
    seen.refuse()
    yield from found.installs
    yield from files
    yield from uploads
    for machine in machines:
        if release and machine.name in tried and tried[machine.name].has_ended:
            yield Step(machine.name, f"try its failed install again, with release {release.version}")
        yield Step(machine.name, "wait for its install")
    if settings.swarm.enabled:
        yield Step("swarm", "see that all machines are in one Swarm")


def _release(cluster: OpenCluster, joining: bool) -> Image:
    """Return the release that a machine without one installs: the newest; where some join others that serve, the one
    that a rollout has chosen for all, if any has. Raises Refused when the registry lacks it, EtcdError when etcd, which
    knows of rollouts, can't be asked."""
    wanted = read_release(cluster.store) if joining else None
    return access.current_release(cluster.settings, *([wanted.version] if wanted else []))


def _tried(cluster: OpenCluster, machines: Sequence[Machine]) -> dict[str, State]:
    found = joined(retrying.asked(cluster.hosts, cluster.settings, machines))
    unknown = [name for name, state in found.items() if state is None]
    if unknown:
        raise Refused(f"{', '.join(unknown)}: how far its install got can't be read; run the same command again")
    return {name: state for name, state in found.items() if state is not None}


def _told_another(machines: Iterable[Machine], tried: Mapping[str, State], release: Image) -> list[Machine]:
    """Return those that have not begun, and were told another release in an earlier life."""
    states = [(machine, tried[machine.name]) for machine in machines]
    return [
        machine
        for machine, state in states
        if state.release != release.version and not (state.is_active or state.has_ended or state.is_at_work)
    ]


def _known(settings: Settings, machines: Sequence[Machine]) -> list[Machine]:
    """Return these machines and all others that this host knows of the cluster: they may hold its secrets."""
    return list({machine.name: machine for machine in (*inventory.load(settings), *machines)}.values())
