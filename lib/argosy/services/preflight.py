"""What can be known of an instance before anything stops for it: asked of the machines where it may run."""

from __future__ import annotations

from argosy.errors import ConfigError, Refused
from argosy.paths import Names
from argosy.services import preflight_scripts
from argosy.services.plan import grows_anywhere, refuse_unplaceable
from argosy.services.record import Generation
from argosy.services.spec import service_name
from argosy.services.state import machine_of
from argosy.services.work import ServicesCluster
from argosy.ssh.host import Host

PULL_SECONDS = 900.0


def refuse_unready(work: ServicesCluster, name: str, generation: Generation, replicas: int | None) -> None:
    """Refuse what can't run on a machine where it may be placed: an image that can't be had, a port that something else
    holds, a secret or a folder that is not there. Images are brought to the machines by this.

    A machine that can't be asked is told of, and no hindrance. Raises Refused with all that was found.
    """
    settings, definition = work.settings, generation.definition
    if replicas == 0:
        return
    state = work.look()
    seen = state.of(name)
    anywhere = grows_anywhere(seen, replicas or 0)
    refuse_unplaceable(state, name, definition, replicas, anywhere=anywhere)
    try:
        known = {host.name for host in work.hosts}
    except ConfigError:  # no machine is known to this host, so none can be asked
        known = set()
    taking = {machine_of(node) for node in state.taking(definition)}
    homes = {*seen.homes} if definition.keeps_home and not anywhere else set()
    names = sorted(known & taking & (homes or taking))
    own = [service_name(settings.system, name, number) for number in seen.generations]
    script = preflight_scripts.look(Names(settings.system), generation.image.reference, definition)

    def ask(host: Host) -> list[str]:
        told = host.run(script, sudo=True, timeout_seconds=PULL_SECONDS).stdout
        return list(preflight_scripts.lacking(told, generation.image.reference, own))

    outcomes = work.hosts.each(ask, names, what="Looking whether it can run there") if names else {}
    problems = []
    for machine, outcome in outcomes.items():
        if outcome.error is not None:
            work.report(machine, f"{name}: whether it can run there is not known: {outcome.error}")
        else:
            problems += [f"{machine}: {problem}" for problem in outcome.get()]
    if problems:
        raise Refused(f"{name}: nothing was changed: {'; '.join(problems)}")
