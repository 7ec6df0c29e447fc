"""A cluster: its machines' cloud-config, secrets and installs; seeing it and reaching into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context

CLUSTER = "the cluster's section under clusters: (or INVOKE_CLUSTER)"
MACHINES = "addresses, or names of known machines (NAME=ADDRESS gives one its name)"
KNOWN = "names or addresses of the cluster's machines; all of them when left out"
DRY_RUN = "print the plan, change nothing"
AS_JSON = "print JSON"


@task(
    words="machines",
    help={
        "machines": MACHINES,
        "format": "cloud-init, coreos or ignition; by each machine's OS when left out",
        "cluster": CLUSTER,
        "dry_run": DRY_RUN,
        "json": AS_JSON,
    },
)
def cloud_config(
    c: Context, machines: list[str], format: str = "", cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Write the cloud-config files that the machines of a new cluster boot with.

    Examples:
        inv cluster.cloud-config 10.0.0.1 10.0.0.2 10.0.0.3
        inv cluster.cloud-config web=10.0.0.1 --format ignition --dry-run
    """
    from argosy import console, inventory
    from argosy.errors import ConfigError
    from argosy.operations import cloudconfig

    settings = settings_of(c, cluster)
    found = inventory.resolve(settings, machines)
    if not found:
        raise ConfigError("give the address of each machine of the new cluster", "machines")
    if dry_run:
        for step in cloudconfig.plan(settings, found, format):
            console.say(str(step))
        return
    paths = cloudconfig.write(settings, found, console.report, format)
    inventory.remember(settings, found)
    if json:
        console.print_json({name: str(path) for name, path in paths.items()})
    else:
        for path in paths.values():
            console.say(str(path))


@task(words="machines", help={"machines": KNOWN, "cluster": CLUSTER, "dry_run": DRY_RUN})
def upload_secrets(c: Context, machines: list[str], cluster: str = "", dry_run: bool = False) -> None:
    """Copy the cluster's secrets and each machine's certificates to the machines, which then install themselves.

    What is there already is left alone; the marker that starts the install is written last.

    Examples:
        inv cluster.upload-secrets
        inv cluster.upload-secrets 10.0.0.3 --dry-run
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import secrets

    settings = settings_of(c, cluster)
    chosen = inventory.select(settings, machines)
    with Hosts(settings, chosen) as hosts:
        if dry_run:
            for step in secrets.plan(hosts, settings, chosen):
                console.say(str(step))
            return
        secrets.upload(hosts, settings, chosen, console.report)


@task(words="machines", help={"machines": KNOWN, "cluster": CLUSTER, "deadline_seconds": "how long to wait at most"})
def follow_install(c: Context, machines: list[str], cluster: str = "", deadline_seconds: float = 0) -> None:
    """Show the machines' installs as they go, and end with their result; then see that they are in the Swarm.

    Examples:
        inv cluster.follow-install
        inv cluster.follow-install air-02 --deadline-seconds 120
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import install
    from argosy.operations.swarm import commands

    settings = settings_of(c, cluster)
    chosen = inventory.select(settings, machines)
    with Hosts(settings, chosen) as hosts:
        install.follow_install(
            hosts, settings, chosen, console.report, deadline_seconds or settings.install.deadline_seconds
        )
    commands.follow(settings, console.report)


@task(words="machines", help={"machines": MACHINES, "cluster": CLUSTER, "dry_run": DRY_RUN})
def setup(c: Context, machines: list[str], cluster: str = "", dry_run: bool = False) -> None:
    """Make a new cluster of machines that are up and reachable by ssh: configuration, secrets, installs.

    Trust their host keys first: inv cluster.trust ADDRESS.

    Examples:
        inv cluster.setup 10.0.0.1 10.0.0.2 10.0.0.3 --cluster production
    """
    from argosy import console, inventory
    from argosy.errors import ConfigError
    from argosy.operations import bare_metal

    settings = settings_of(c, cluster)
    found = inventory.resolve(settings, machines)
    if not found:
        raise ConfigError("give the address of each machine of the new cluster", "machines")
    if dry_run:
        for step in bare_metal.plan(settings, found):
            console.say(str(step))
        return
    bare_metal.setup(settings, found, console.report)


@task(help={"cluster": CLUSTER, "json": AS_JSON})
def status(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the machines, their etcd members and their services; exit with 32 unless all is well.

    Examples:
        inv cluster.status
        inv cluster.status --json --cluster production
    """
    from argosy import console, inventory
    from argosy.errors import Unhealthy
    from argosy.host import Hosts
    from argosy.operations import status as operation

    settings = settings_of(c, cluster)
    machines = inventory.select(settings)
    with Hosts(settings, machines) as hosts:
        observed = operation.observe(settings, hosts)
    if json:
        console.print_json(observed.to_json())
    else:
        for columns, rows in observed.tables():
            console.table(columns, rows)
            console.say("")
    if not observed.healthy:
        raise Unhealthy("; ".join(observed.problems()))


@task(help={"cluster": CLUSTER, "json": AS_JSON})
def verify(c: Context, cluster: str = "", json: bool = False) -> None:
    """Prove, hop by hop, that machines run and reach what the release and etcd say; exit with 32 unless all agrees.

    The hops: release, image digest, container, etcd key, each router's server line, DNS answer. Of each chain the first
    hop that differs is named. What differs is looked at again, so that a change under way is none.

    Examples:
        inv cluster.verify
        inv cluster.verify --json --cluster production
    """
    from argosy import console, inventory
    from argosy.errors import Unhealthy
    from argosy.host import Hosts
    from argosy.operations import verify as operation

    settings = settings_of(c, cluster)
    with Hosts(settings, inventory.select(settings)) as hosts:
        found = operation.observe(settings, hosts, console.report)
    if json:
        console.print_json(found.to_json())
    else:
        console.table(*found.table())
    if found.differing:
        raise Unhealthy("; ".join(map(str, found.differing)))


@task(help={"cluster": CLUSTER, "json": AS_JSON})
def members(c: Context, cluster: str = "", json: bool = False) -> None:
    """List the members of the cluster's etcd: id, leader, learner, health.

    Example: inv cluster.members
    """
    from argosy import console, inventory
    from argosy.operations import members as operation

    settings = settings_of(c, cluster)
    found = operation.observe(settings, inventory.select(settings))
    if json:
        console.print_json(operation.to_json(found))
    else:
        console.table(operation.COLUMNS, operation.rows(found))


@task(
    words="services",
    help={
        "services": "only these services; all units of the system when left out",
        "machine": "only this machine (may be given several times)",
        "follow": "go on showing new lines until Ctrl-C",
        "lines": "how many past lines of each machine",
        "cluster": CLUSTER,
    },
    iterable=["machine"],
)
def logs(
    c: Context, services: list[str], machine: list[str], follow: bool = False, lines: int = 20, cluster: str = ""
) -> None:
    """Show the journal of the system's units on all machines, interleaved, each line after its machine's name.

    Examples:
        inv cluster.logs backend -f
        inv cluster.logs --machine air-02 --lines 100
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import reach

    settings = settings_of(c, cluster)
    units = reach.units(settings, services)
    with Hosts(settings, inventory.select(settings, machine)) as hosts:
        reach.follow_journals(hosts, units, console.prefixed, lines=lines, follow=follow)


@task(help={"machine": "its name or address", "cluster": CLUSTER})
def ssh(c: Context, machine: str, cluster: str = "") -> None:
    """Log in on a machine.

    Example: inv cluster.ssh air-02
    """
    from argosy import inventory
    from argosy.host import Hosts

    settings = settings_of(c, cluster)
    (chosen,) = inventory.select(settings, [machine])
    with Hosts(settings, [chosen]) as hosts:
        hosts[chosen.name].interactive()


@task(
    help={
        "command": "a shell command line",
        "machine": "only this machine (may be given several times)",
        "sudo": "run it as root",
        "cluster": CLUSTER,
        "json": AS_JSON,
    },
    iterable=["machine"],
)
def run(
    c: Context, command: str, machine: list[str], sudo: bool = False, cluster: str = "", json: bool = False
) -> None:
    """Run a command on all machines at once; exit with 31 when it failed on any.

    Examples:
        inv cluster.run 'uptime'
        inv cluster.run 'docker ps' --sudo --machine air-01
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import reach

    settings = settings_of(c, cluster)
    with Hosts(settings, inventory.select(settings, machine)) as hosts:
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
        "cluster": CLUSTER,
    },
    iterable=["machine"],
)
def put(c: Context, local: str, remote: str, machine: list[str], sudo: bool = False, cluster: str = "") -> None:
    """Copy a file or a folder to the machines.

    Example: inv cluster.put ./motd /etc/motd --sudo
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import reach

    settings = settings_of(c, cluster)
    with Hosts(settings, inventory.select(settings, machine)) as hosts:
        reach.put(hosts, local, remote, console.report, sudo=sudo)


@task(
    help={
        "remote": "a file or folder on each machine",
        "local": "a folder here; with several machines each has a folder of its name in it",
        "machine": "only this machine (may be given several times)",
        "sudo": "read as root",
        "cluster": CLUSTER,
    },
    iterable=["machine"],
)
def get(c: Context, remote: str, local: str, machine: list[str], sudo: bool = False, cluster: str = "") -> None:
    """Copy a file or a folder from the machines.

    Examples:
        inv cluster.get /var/log/cloud-init.log ./logs
        inv cluster.get /etc/air/settings.json . --machine air-01
    """
    from argosy import console, inventory
    from argosy.host import Hosts
    from argosy.operations import reach

    settings = settings_of(c, cluster)
    with Hosts(settings, inventory.select(settings, machine)) as hosts:
        reach.get(hosts, remote, local, console.report, sudo=sudo)


@task(words="machine", words_max=1, help={"service": "its name", "machine": "by default the first", "cluster": CLUSTER})
def shell(c: Context, service: str, machine: list[str], cluster: str = "") -> None:
    """Open a shell inside a service's container.

    Example: inv cluster.shell backend air-02
    """
    _inside(c, "shell", service, machine, cluster)


@task(
    name="console",
    words="machine",
    words_max=1,
    help={"service": "its name", "machine": "by default the first", "cluster": CLUSTER},
)
def console_(c: Context, service: str, machine: list[str], cluster: str = "") -> None:
    """Open a service's own console (its `console:` command) inside its container.

    Example: inv cluster.console backend
    """
    _inside(c, "console", service, machine, cluster)


def _inside(c: Context, what: str, service: str, machine: list[str], cluster: str) -> None:
    from argosy import inventory
    from argosy.host import Hosts
    from argosy.operations import reach

    settings = settings_of(c, cluster)
    chosen = inventory.select(settings, machine)[0]
    with Hosts(settings, [chosen]) as hosts:
        reach.enter(hosts[chosen.name], settings, what, service)


@task(
    help={
        "address": "a machine's address or name, or the entry node's",
        "port": "its ssh port",
        "fingerprint": "trust only the key with this fingerprint (SHA256:...), asking nothing",
        "yes": "trust what it shows without being asked",
        "cluster": CLUSTER,
    }
)
def trust(c: Context, address: str, fingerprint: str = "", port: int = 0, yes: bool = False, cluster: str = "") -> None:
    """Pin a machine's ssh host key, after you have compared its fingerprint.

    On the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

    Examples:
        inv cluster.trust 10.0.0.1
        inv cluster.trust 10.0.0.1 --fingerprint SHA256:5CTmXvqvNkJGM0jG...
    """
    from argosy import console
    from argosy.operations import trust as operation

    settings = settings_of(c, cluster)
    offered = operation.scan(settings, address, port)
    chosen = operation.choose(offered, fingerprint, address)
    for key in chosen:
        console.say(f"{address} {key.type} {key.fingerprint}")
    if not fingerprint:
        console.confirm(f"Is this {address}'s key, as the machine itself shows it?", yes)
    operation.pin(settings, address, port, chosen)
