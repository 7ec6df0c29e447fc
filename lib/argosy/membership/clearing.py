"""Leave a machine as it was before it was one: Docker's settings, and nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.cloudconfig.changes import ORIGINS
from argosy.cloudconfig.config import owned_paths
from argosy.cloudconfig.files import daemon_json, environment
from argosy.cloudconfig.shared import (
    DAEMON_JSON,
    ENVIRONMENT,
    RESTART,
    SHARED,
    origin_of,
    parse_origins,
    restart_docker,
    restored,
)
from argosy.cloudconfig.writing import read_files
from argosy.cluster.opening import OpenCluster
from argosy.errors import ArgosyError, Refused
from argosy.images.repositories import registry_prefix
from argosy.machine import authorized
from argosy.machine.images import remove_images
from argosy.membership import leaving_scripts
from argosy.model import Machine
from argosy.paths import Names
from argosy.ssh.host import Host


def clear(
    cluster: OpenCluster,
    machine: Machine,
    volumes: Sequence[str],
    ssh_keys: Sequence[str] = (),
    *,
    force: bool = False,
) -> None:
    """Take away all that is ours on the machine, these volumes and `ssh_keys`, public lines of who may log in; packages
    stay. Idempotent: resumes after any end.

    `force`: what goes wrong is told, and no more. Raises CommandFailed, HostUnreachable, Refused.
    """
    try:
        _clear(cluster, machine, volumes, ssh_keys)
    except ArgosyError as error:
        if not force:
            raise
        cluster.report(machine.name, f"something of ours is left there: {error}")


def _clear(cluster: OpenCluster, machine: Machine, volumes: Sequence[str], ssh_keys: Sequence[str]) -> None:
    settings, host = cluster.settings, cluster.hosts[machine]
    for line in ssh_keys:
        authorized.shut_out(host, line)
    names = Names(settings.system, machine.os)
    files, units = owned_paths(settings, machine)
    host.run(leaving_scripts.undo_dns(names), sudo=True)
    _restore(cluster, host, names)
    host.run(remove_images(settings.registry.address, registry_prefix(settings)), sudo=True)
    left = host.run(leaving_scripts.take_away(names, files, units, volumes), sudo=True).stdout.splitlines()
    if left:
        cluster.report(machine.name, f"left there, since it is not ours: {', '.join(left)}")


def _restore(cluster: OpenCluster, host: Host, names: Names) -> None:
    """Give the files that we share with the machine's owner what was there before us."""
    settings, written = cluster.settings, f"{names.config}/{ORIGINS}"
    texts = read_files(host, (*SHARED, written, f"{names.config}/machine.env"))
    ours = {DAEMON_JSON: daemon_json(settings, host.machine.os), ENVIRONMENT: environment(host.machine)}
    restarts = f"{names.config}/{RESTART}"
    if texts[written] is None and texts[f"{names.config}/machine.env"] is None:
        return  # it is none of ours any more, and what looks like ours may be its owner's
    try:
        origins = parse_origins(texts[written] or "")
        # Of a machine that booted with its cloud-config, or was made one by an older release, nothing is written down.
        known = {
            path: origins.get(path) or origin_of(path, texts[path], ours[path], None, ours_already=True)
            for path in SHARED
        }
        after = {path: restored(path, texts[path], known[path]) for path in SHARED}
    except ValueError as error:
        raise Refused(
            f"{host.name}: {DAEMON_JSON} or {written} is not JSON ({error}): repair it or remove it"
        ) from None
    if after[DAEMON_JSON] != texts[DAEMON_JSON]:
        host.run(["mkdir", "-p", "--", names.config], sudo=True)
        host.put_bytes(b"", restarts, sudo=True)
    for path, text in after.items():
        if text is None:
            host.run(["rm", "-f", "--", path], sudo=True)
        elif text != texts[path]:
            host.put_bytes(text.encode(), path, sudo=True)
    host.run(restart_docker(restarts), sudo=True)
