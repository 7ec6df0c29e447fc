"""Write the cloud-config files that machines boot with; or bring what is in them to machines that are up already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

from argosy import atomic, inventory
from argosy.cloudconfig import config as cloudconfig
from argosy.cloudconfig.changes import (
    OBSERVE,
    Changes,
    keep_chosen,
    parse_observed,
    plan_changes,
    shared_paths,
    shell_arguments,
)
from argosy.cloudconfig.files import Common
from argosy.cloudconfig.shared import DAEMON_JSON, RESTART, restart_docker
from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.fanout import joined
from argosy.model import Image, Machine, Step
from argosy.paths import Names
from argosy.pki import authority as pki
from argosy.registry import access
from argosy.report import Report
from argosy.secrets.checkout import refuse_lost
from argosy.ssh import keypair
from argosy.ssh.host import Host, Hosts
from argosy.ssh.shell import Script

FOLDER = "cloud-config"
READ = '[ ! -e "$1" ] || { printf . && cat -- "$1"; }'
"""Prints the file $1 after a dot, nothing when there is none; one that can't be read is an error."""


class Known(TypedDict, total=False):
    """What is given where it is known. `release`: what to install; the newest in the registry when not given.
    `initial_state`: `existing` for machines that join, else `new`; `members`: who runs etcd then; `installed`: machines
    that keep the release and the image of etcd that they have; `operators`: the ssh keys of further operators."""

    release: Image | None
    initial_state: str
    members: Sequence[Machine] | None
    installed: Collection[str]
    operators: Sequence[str]


def paths(settings: Settings, machines: Iterable[Machine], format: str = "") -> dict[str, Path]:
    """Return where each machine's file is, or will be: .argosy/CLUSTER/cloud-config/NAME.{yaml,ign}."""
    folder = settings.state_path / FOLDER
    suffixes = {machine.name: cloudconfig.suffix(cloudconfig.dialect_for(machine.os, format)) for machine in machines}
    return {name: folder / f"{name}{suffix}" for name, suffix in suffixes.items()}


def plan(
    settings: Settings,
    machines: Sequence[Machine],
    format: str = "",
    **known: Unpack[Known],
) -> list[Step]:
    """Return what `write` would do, changing nothing. Asks the registry for the release."""
    given = _given(settings, machines, **known)
    authority = pki.authority_path(settings.secrets_path)
    made_here = [authority] if settings.ssh.key else [authority, keypair.key_path(settings)]
    steps = [Step("here", f"make {path}") for path in made_here if not path.exists()]
    if steps:
        # What goes into the files is not made yet.
        return steps + [Step(name, f"write {path}") for name, path in paths(settings, machines, format).items()]
    given = replace(given, registry_ca=authority.read_text(), authorized_keys=_keys(settings, **known))
    return [
        Step(name, f"{'replace' if path.exists() else 'write'} {path}")
        for name, (path, text) in _rendered(settings, machines, format, given).items()
        if not _holds(path, text)
    ]


def write(
    settings: Settings,
    machines: Sequence[Machine],
    report: Report,
    format: str = "",
    **known: Unpack[Known],
) -> dict[str, Path]:
    """Write the file of each of `machines` and return the paths; files that would not change are left alone.

    The cluster is what the inventory knows and `machines`. `format`: the dialect, when not each OS's own. Makes the CA
    and the cluster's ssh key when they are missing. Everything is rendered before the first file is written, each of
    which is replaced in one step. Raises ConfigError, RegistryError.
    """
    given = _given(settings, machines, **known)
    _ensure_ca(settings)
    keypair.ensure_own_key(settings)
    authority = pki.authority_path(settings.secrets_path).read_text()
    given = replace(given, registry_ca=authority, authorized_keys=_keys(settings, **known))
    written = _rendered(settings, machines, format, given)
    (settings.state_path / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, (path, text) in written.items():
        changed = atomic.write_if_changed(path, text.encode())
        report(name, f"cloud-config: {'wrote' if changed else 'unchanged'} {path}")
    return {name: path for name, (path, _text) in written.items()}


def _keys(settings: Settings, **known: Unpack[Known]) -> list[str]:
    return [*keypair.authorized_keys(settings), *known.get("operators", ())]


def _ensure_ca(settings: Settings) -> None:
    """Make the CA when there is none. Raises Refused when the machines trust one that this checkout has lost."""
    if not pki.authority_path(settings.secrets_path).exists():
        refuse_lost(settings, "ca.crt")
    pki.ensure_ca(settings.secrets_path)


def plan_apply(
    hosts: Hosts,
    settings: Settings,
    machines: Sequence[Machine],
    **known: Unpack[Known],
) -> list[Step]:
    """Return what `apply` would do on each machine, changing nothing."""
    given = _given_now(settings, machines, **known)
    changes = _observed_changes(hosts, settings, machines, given, known.get("installed", ()))
    authority = pki.authority_path(settings.secrets_path)
    made = [] if authority.exists() else [Step("here", f"make {authority}")]
    return made + [Step(name, line) for name, change in changes.items() for line in change.lines()]


def apply(
    hosts: Hosts,
    settings: Settings,
    machines: Sequence[Machine],
    report: Report,
    **known: Unpack[Known],
) -> dict[str, Changes]:
    """Bring files and units to machines that are up already, and return what changed on each. Idempotent.

    Host names, users and ssh keys stay as they are; /etc/environment and
    daemon.json are merged into. All machines are looked at before any is changed. Docker is restarted where its
    settings changed. Raises HostsFailed when machines failed; the others are done.
    """
    _ensure_ca(settings)
    given = _given_now(settings, machines, **known)
    changes = _observed_changes(hosts, settings, machines, given, known.get("installed", ()))

    def one(host: Host) -> Changes:
        change = changes[host.name]
        bring(host, change, f"{Names(settings.system).config}/{RESTART}")
        report(host.name, f"machine files: {len(change.files)} written" if change else "machine files: unchanged")
        return change

    return joined(hosts.each(one, machines, what="Setting up"))


def bring(host: Host, change: Changes, marker: str) -> None:
    """Do it. `marker`: the file that is there from before Docker's settings change until it has read them."""
    if not change:
        return
    folders = sorted({str(Path(file.path).parent) for file in change.files})
    if folders:
        host.run(["mkdir", "-p", "--", *folders], sudo=True)
    for file in change.files:
        if file.path == DAEMON_JSON:
            host.put_bytes(b"", marker, sudo=True)
        host.put_bytes(file.content.encode(), file.path, mode=file.mode, sudo=True)
    if change.reload_units:
        host.run(["systemctl", "daemon-reload"], sudo=True)
    if change.restart_docker:
        host.run(restart_docker(marker), sudo=True)
    if change.start:
        host.run(["systemctl", "start", *change.start], sudo=True)
    if change.enable:
        host.run(["systemctl", "enable", "--quiet", *change.enable], sudo=True)


def _observed_changes(
    hosts: Hosts, settings: Settings, machines: Sequence[Machine], given: Common, installed: Collection[str]
) -> dict[str, Changes]:
    """Look at all machines and return what each needs. Raises HostsFailed naming those that can't be had or used."""

    def observe(host: Host) -> Changes:
        config = cloudconfig.machine_config(settings, host.machine, given)
        names = Names(settings.system, host.machine.os)
        if host.name in installed:
            (etcd_env,) = read_files(host, [f"{names.config}/etcd.env"]).values()
            config = keep_chosen(config, names, etcd_env)
        shown = host.run(Script("compare files", OBSERVE, *shell_arguments(config, names)), sudo=True)
        texts = read_files(host, shared_paths(names))
        return plan_changes(config, parse_observed(shown.stdout, texts), names)

    return joined(hosts.each(observe, machines, what="Looking at the machines"))


def read_files(host: Host, files: Iterable[str]) -> dict[str, str | None]:
    """Return the text of each of these files of a machine, None where there is no such file."""
    shown = {path: host.run(Script(f"read {path}", READ, path), sudo=True).stdout for path in files}
    return {path: text[1:] if text else None for path, text in shown.items()}


def _given(settings: Settings, machines: Sequence[Machine], **known: Unpack[Known]) -> Common:
    """Return what can be known without making anything; the CA and the keys follow."""
    etcd = access.current_images(settings).get(settings.etcd.image)
    if etcd is None:
        raise Refused(f"image {settings.etcd.image} is not in the registry: inv build.all registry.push")
    initial_state = known.get("initial_state", "new")
    cluster, release = _cluster(settings, machines, initial_state), known.get("release")
    release = release or access.current_release(settings)
    return Common(cluster, release, etcd, initial_state=initial_state, members=known.get("members"))


def _given_now(settings: Settings, machines: Sequence[Machine], **known: Unpack[Known]) -> Common:
    """Return the same for machines that are up: nobody's ssh key is needed, since somebody logs in already."""
    authority = pki.authority_path(settings.secrets_path)
    given = _given(settings, machines, **known)
    return replace(given, registry_ca=authority.read_text() if authority.exists() else "")


def _cluster(settings: Settings, machines: Sequence[Machine], initial_state: str) -> list[Machine]:
    """Return all machines of the cluster: those known, in the inventory's order, then the new ones.

    Raises Refused for new machines without the known ones: it would be unclear whether they make a cluster of their own
    or join one that runs.
    """
    known = {machine.name: machine for machine in inventory.load(settings)}
    given = {machine.name: machine for machine in machines}
    left_out = [name for name in known if name not in given]
    if initial_state == "new" and left_out and not given.keys() <= known.keys():
        raise Refused(
            f"cluster {settings.cluster!r} has {', '.join(left_out)}, too: name all machines of a new cluster "
            f"(if those were never made, remove {settings.state_path}/machines.json)"
        )
    return list((known | given).values())


def _rendered(
    settings: Settings, machines: Sequence[Machine], format: str, given: Common
) -> dict[str, tuple[Path, str]]:
    where = paths(settings, machines, format)
    return {
        machine.name: (
            where[machine.name],
            cloudconfig.render(cloudconfig.machine_config(settings, machine, given), format),
        )
        for machine in machines
    }


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
