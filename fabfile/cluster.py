"""A cluster: its machines' cloud-config, secrets and installs; seeing it and reaching into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.errors import ConfigError, Unhealthy
from argosy.tasking import hosts_of, machines_of, settings_of, task
from argosy.tasks.secrets import agreeing

if TYPE_CHECKING:
    from invoke.context import Context

MACHINES = "addresses, or names of known machines (NAME=ADDRESS gives one its name)"
KNOWN = "names or addresses of the cluster's machines; all of them when left out"


@task(
    words="machines",
    help={"machines": MACHINES, "format": "cloud-init, coreos or ignition; by each machine's OS when left out"},
)
def cloud_config(
    c: Context, machines: list[str], format: str = "", cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Write the cloud-config files that the machines of a new cluster boot with.

    Examples:
        inv cluster.cloud-config 10.0.0.1 10.0.0.2 10.0.0.3
        inv cluster.cloud-config web=10.0.0.1 --format ignition --dry-run
    """
    from argosy import inventory
    from argosy.cloudconfig import writing

    settings = settings_of(c, cluster)
    found = inventory.resolve(settings, machines)
    if not found:
        raise ConfigError("give the address of each machine of the new cluster", "machines")
    if dry_run:
        console.print_steps(writing.plan(settings, found, format), json)
        return
    paths = writing.write(settings, found, console.report, format)
    inventory.remember(settings, found)
    console.answer(json, {name: str(path) for name, path in paths.items()}, "\n".join(map(str, paths.values())))


@task(words="machines", help={"machines": KNOWN})
def upload_secrets(
    c: Context,
    machines: list[str],
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
    yes: bool = False,
) -> None:
    """Copy the cluster's secrets and each machine's certificates to the machines, which then install themselves.

    What is there already is left alone; the marker that starts the install is written last. What would replace or
    remove a secret is listed and asked for; it is refused from a checkout whose secrets are not the cluster's newest.

    Examples:
        inv cluster.upload-secrets
        inv cluster.upload-secrets 10.0.0.3 --dry-run
        inv cluster.upload-secrets --yes --json
    """
    from argosy.cluster.opening import OpenCluster
    from argosy.secrets import syncing

    settings = settings_of(c, cluster)
    chosen = machines_of(settings, machines)
    with OpenCluster(settings, console.report) as opened:
        if not dry_run:
            uploaded = syncing.upload(opened, chosen, agreeing(yes))
            if json:
                console.print_json(uploaded.to_json())
            return
        seen, steps = syncing.plan(opened, chosen)
    if json:
        console.print_json(seen.to_json())
    else:
        console.print_steps(steps)
    seen.refuse()


@task(words="machines", help={"machines": KNOWN, "deadline_seconds": "how long to wait at most"})
def follow_install(c: Context, machines: list[str], cluster: str = "", deadline_seconds: float = 0) -> None:
    """Show the machines' installs as they go, and end with their result; then see that they are in the Swarm.

    Examples:
        inv cluster.follow-install
        inv cluster.follow-install air-02 --deadline-seconds 120
    """
    from argosy.cluster.opening import OpenCluster
    from argosy.machine import install
    from argosy.membership import swarm_task
    from argosy.secrets import syncing

    settings = settings_of(c, cluster)
    seconds = deadline_seconds or settings.install.deadline_seconds
    with hosts_of(settings, machines) as hosts:
        install.follow_install(hosts, settings, hosts.machines, console.report, seconds)
        with OpenCluster(settings, console.report) as opened:
            syncing.settle(opened, hosts.machines)
    swarm_task.follow(settings, console.report)


@task(words="machines", help={"machines": MACHINES})
def setup(
    c: Context,
    machines: list[str],
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
    yes: bool = False,
) -> None:
    """Make a new cluster of servers that are up and reachable by ssh: packages, configuration, secrets, installs.

    A server needs sshd, sudo and systemd. All are looked at first, and what they lack or what stands against them is
    told; on Debian and Ubuntu what lacks (Docker's engine, curl) is shown, asked for and installed. After an install
    that failed, the same command tries again, with the newest release. Trust the host keys first: inv cluster.trust
    ADDRESS... What machines hold of secrets already is replaced only as by cluster.upload-secrets.

    Examples:
        inv cluster.setup 10.0.0.1 10.0.0.2 10.0.0.3 --cluster production
        inv cluster.setup air-01=10.0.0.1 --dry-run
    """
    from argosy import inventory
    from argosy.membership import bare_metal

    settings = settings_of(c, cluster)
    found = inventory.resolve(settings, machines)
    if not found:
        raise ConfigError("give the address of each machine of the new cluster", "machines")

    def agree(planned: bare_metal.Setup) -> None:
        names = ", ".join(step.subject for step in planned.installs)
        console.confirm(f"Install that on {names}?", yes)

    if dry_run:
        done = bare_metal.plan(settings, found)
        if not json and (done.steps or done.installs):
            console.print_steps(done.steps or done.installs)
    else:
        done = bare_metal.setup(settings, found, console.report, agree, agreeing(yes))
    if json:
        console.print_json(done.to_json())
    done.refuse()


@task
def status(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the machines, their etcd members and their services; exit with 32 unless all is well.

    Examples:
        inv cluster.status
        inv cluster.status --json --cluster production
    """
    from argosy.status import observing as operation

    settings = settings_of(c, cluster)
    with hosts_of(settings) as hosts:
        observed = operation.observe(settings, hosts)
    console.show_all(json, observed.to_json(), observed.tables())
    if not observed.healthy:
        raise Unhealthy("; ".join(observed.problems()))


@task
def verify(c: Context, cluster: str = "", json: bool = False) -> None:
    """Prove, hop by hop, that machines run and reach what the release and etcd say; exit with 32 unless all agrees.

    The hops: release, image digest, container, etcd key, each router's server line, DNS answer. Of each chain the first
    hop that differs is named. What differs is looked at again, so that a change under way is none.

    Examples:
        inv cluster.verify
        inv cluster.verify --json --cluster production
    """
    from argosy.status import verifying as operation

    settings = settings_of(c, cluster)
    with hosts_of(settings) as hosts:
        found = operation.observe(settings, hosts, console.report)
    console.show(json, found.to_json(), *found.table())
    if found.differing:
        raise Unhealthy("; ".join(map(str, found.differing)))


@task
def members(c: Context, cluster: str = "", json: bool = False) -> None:
    """List the members of the cluster's etcd: id, leader, learner, health.

    Example: inv cluster.members
    """
    from argosy.status import members as operation

    settings = settings_of(c, cluster)
    found = operation.observe(settings, machines_of(settings))
    console.show(json, operation.to_json(found), operation.COLUMNS, operation.rows(found))


@task(
    words="services",
    help={
        "services": "only these services; all units of the system when left out",
        "machine": "only this machine (may be given several times)",
        "follow": "show new lines as they come, until Ctrl-C",
        "lines": "how many past lines of each machine",
    },
)
def logs(
    c: Context, services: list[str], machine: list[str], follow: bool = False, lines: int = 20, cluster: str = ""
) -> None:
    """Show the journal of the system's units on all machines, interleaved, each line after its machine's name.

    Examples:
        inv cluster.logs backend -f
        inv cluster.logs --machine air-02 --lines 100
    """
    from argosy.machine import reach

    settings = settings_of(c, cluster)
    units = reach.units(settings, services)
    with hosts_of(settings, machine) as hosts:
        reach.follow_journals(hosts, units, console.prefixed, lines=lines, follow=follow)


@task(help={"machine": "its name or address"})
def ssh(c: Context, machine: str, cluster: str = "") -> None:
    """Log in on a machine.

    Example: inv cluster.ssh air-02
    """

    with hosts_of(settings_of(c, cluster), [machine]) as hosts:
        next(iter(hosts)).interactive()


@task(
    help={
        "command": "a shell command line",
        "machine": "only this machine (may be given several times)",
        "sudo": "run it as root",
    },
)
def run(
    c: Context, command: str, machine: list[str], sudo: bool = False, cluster: str = "", json: bool = False
) -> None:
    """Run a command on all machines at once; exit with 31 when it failed on any.

    Examples:
        inv cluster.run 'uptime'
        inv cluster.run 'docker ps' --sudo --machine air-01
    """
    from argosy.machine import reach

    with hosts_of(settings_of(c, cluster), machine) as hosts:
        outcomes = reach.run(hosts, command, sudo=sudo)
    if json:
        console.print_json({name: reach.outcome_json(outcome) for name, outcome in outcomes.items()})
    else:
        for name, line in reach.outcome_lines(outcomes):
            console.prefixed(name, line)
    reach.refuse_failures(f"{command!r}", outcomes)


@task(
    help={
        "local": "a file or folder here",
        "remote": "where it goes on each machine",
        "machine": "only this machine (may be given several times)",
        "sudo": "write as root",
    },
)
def put(c: Context, local: str, remote: str, machine: list[str], sudo: bool = False, cluster: str = "") -> None:
    """Copy a file or a folder to the machines.

    Example: inv cluster.put ./motd /etc/motd --sudo
    """
    from argosy.machine import reach

    with hosts_of(settings_of(c, cluster), machine) as hosts:
        reach.put(hosts, local, remote, console.report, sudo=sudo)


@task(
    help={
        "remote": "a file or folder on each machine",
        "local": "a folder here; with several machines each has a folder of its name in it",
        "machine": "only this machine (may be given several times)",
        "sudo": "read as root",
    },
)
def get(c: Context, remote: str, local: str, machine: list[str], sudo: bool = False, cluster: str = "") -> None:
    """Copy a file or a folder from the machines.

    Examples:
        inv cluster.get /var/log/cloud-init.log ./logs
        inv cluster.get /etc/air/settings.json . --machine air-01
    """
    from argosy.machine import reach

    with hosts_of(settings_of(c, cluster), machine) as hosts:
        reach.get(hosts, remote, local, console.report, sudo=sudo)


@task(words="machine", words_max=1, help={"service": "its name", "machine": "by default the first that runs it"})
def shell(c: Context, service: str, machine: list[str], cluster: str = "") -> None:
    """Open a shell inside a service's container.

    Example: inv cluster.shell backend air-02
    """
    _inside(c, "shell", service, machine, cluster)


@task(
    name="console",
    words="machine",
    words_max=1,
    help={"service": "its name", "machine": "by default the first that runs it"},
)
def console_(c: Context, service: str, machine: list[str], cluster: str = "") -> None:
    """Open a service's own console (its `console:` command) inside its container.

    Example: inv cluster.console backend
    """
    _inside(c, "console", service, machine, cluster)


def _inside(c: Context, what: str, service: str, machine: list[str], cluster: str) -> None:
    from argosy.machine import reach

    settings = settings_of(c, cluster)
    with hosts_of(settings, machine or reach.machines_with(settings, service)[:1]) as hosts:
        reach.enter(next(iter(hosts)), settings, what, service)


@task(
    words="machines",
    help={
        "machines": "addresses or names of machines, or the entry node",
        "port": "their ssh port, when it is not the configured one",
        "fingerprint": "trust only the key with this fingerprint (SHA256:...), asking nothing; one for each machine, "
        "in their order",
        "yes": "trust what they show without being asked",
    },
)
def trust(
    c: Context,
    machines: list[str],
    fingerprint: list[str],
    port: int = 0,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
    yes: bool = False,
) -> None:
    """Pin the ssh host keys of machines, after you have compared each one's fingerprint.

    On the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. Nothing is pinned until all have answered and you
    have agreed to each that is not known by these very keys.

    Examples:
        inv cluster.trust 10.0.0.1 10.0.0.2 10.0.0.3
        inv cluster.trust 10.0.0.1 --fingerprint SHA256:5CTmXvqvNkJGM0jG...
    """
    from argosy.machine import trust as operation

    settings = settings_of(c, cluster)
    offers = operation.offers(settings, machines, port, fingerprint)
    if json:
        console.print_json([offer.to_json() for offer in offers])
    for offer in offers:
        if not json:
            for line in [*offer.lines, *([f"{offer.word} is known by this already"] if offer.trusted else [])]:
                console.say(line)
        if not (offer.trusted or fingerprint or dry_run):
            console.confirm(f"Is this {offer.word}'s key, as the machine itself shows it?", yes)
    if not dry_run:
        for offer in offers:
            operation.pin(settings, offer)
