"""Write the cloud-config files that machines boot with; or bring what is in them to machines that are up already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from argosy import atomic, cloudconfig, inventory, pki, ssh_keypair
from argosy.config import Settings
from argosy.console import Report
from argosy.dialects import MachineConfig
from argosy.errors import Refused
from argosy.host import Host, Hosts, joined
from argosy.machine_changes import OBSERVE, SHARED, Changes, parse_observed, plan_changes, shell_arguments
from argosy.model import Image, Machine, Step
from argosy.operations import registry
from argosy.remote_shell import Script

FOLDER = "cloud-config"


@dataclass(frozen=True, slots=True)
class _Given:
    """What all machines of a cluster have in common. `keys`: none yet in a dry run before the first run; `members`: who
    runs etcd, None for the first machines of a new cluster."""

    cluster: Sequence[Machine]
    release: Image
    etcd: Image
    registry_ca: str
    keys: Sequence[str]
    initial_state: str
    members: Sequence[Machine] | None = None


def paths(settings: Settings, machines: Iterable[Machine], format: str = "") -> dict[str, Path]:
    """Return where each machine's file is, or will be: .argosy/CLUSTER/cloud-config/NAME.{yaml,ign}."""
    folder = settings.state_path / FOLDER
    suffixes = {it.name: cloudconfig.suffix(cloudconfig.dialect_for(it.os, format)) for it in machines}
    return {name: folder / f"{name}{suffix}" for name, suffix in suffixes.items()}


def plan(
    settings: Settings,
    machines: Sequence[Machine],
    format: str = "",
    *,
    release: Image | None = None,
    initial_state: str = "new",
    members: Sequence[Machine] | None = None,
) -> list[Step]:
    """Return what `write` would do, changing nothing. Asks the registry for the release."""
    given = _given(settings, machines, release, initial_state, members)
    authority = pki.authority_path(settings.secrets_path)
    keypair = _own_key(settings)
    steps = [Step("here", f"make {path}") for path in (authority, keypair) if path and not path.exists()]
    if steps:
        # What goes into the files is not made yet.
        return steps + [Step(name, f"write {path}") for name, path in paths(settings, machines, format).items()]
    given = replace(given, registry_ca=authority.read_text(), keys=_authorized_keys(settings))
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
    *,
    release: Image | None = None,
    initial_state: str = "new",
    members: Sequence[Machine] | None = None,
) -> dict[str, Path]:
    """Write the file of each of `machines` and return the paths; files that would not change are left alone.

    The cluster is what the inventory knows and `machines`. `format`: the dialect, when not each OS's own. `release`:
    what to install; the newest in the registry when not given. `initial_state`: `existing` for machines that join;
    `members`: who runs etcd then. Makes the CA and the cluster's ssh key when they are missing. Everything is rendered
    before the first file is written, each of which is replaced in one step. Raises ConfigError, RegistryError.
    """
    given = _given(settings, machines, release, initial_state, members)
    pki.ensure_ca(settings.secrets_path)
    own = _own_key(settings)
    if own:
        ssh_keypair.ensure_key_pair(own, f"{settings.system}-{settings.cluster}")
    authority = pki.authority_path(settings.secrets_path).read_text()
    given = replace(given, registry_ca=authority, keys=_authorized_keys(settings))
    written = _rendered(settings, machines, format, given)
    (settings.state_path / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, (path, text) in written.items():
        changed = atomic.write_if_changed(path, text.encode())
        report(name, f"cloud-config: {'wrote' if changed else 'unchanged'} {path}")
    return {name: path for name, (path, _text) in written.items()}


def plan_apply(
    hosts: Hosts,
    settings: Settings,
    machines: Sequence[Machine],
    *,
    release: Image | None = None,
    initial_state: str = "new",
    members: Sequence[Machine] | None = None,
) -> list[Step]:
    """Return what `apply` would do on each machine, changing nothing."""
    given = _given_now(settings, machines, release, initial_state, members)
    changes = _observed_changes(hosts, settings, machines, given)
    authority = pki.authority_path(settings.secrets_path)
    made = [] if authority.exists() else [Step("here", f"make {authority}")]
    return made + [Step(name, line) for name, change in changes.items() for line in change.lines()]


def apply(
    hosts: Hosts,
    settings: Settings,
    machines: Sequence[Machine],
    report: Report,
    *,
    release: Image | None = None,
    initial_state: str = "new",
    members: Sequence[Machine] | None = None,
) -> dict[str, Changes]:
    """Bring files and units to machines that are up already, and return what changed on each. Idempotent.

    `initial_state`, `members`: as for `write`. Host names, users and ssh keys stay as they are; /etc/environment and
    daemon.json are merged into. All machines are looked at before any is changed: Refused when one lacks Docker or
    systemd. Docker is restarted where its settings changed. Raises HostsFailed when machines failed; the others are
    done.
    """
    pki.ensure_ca(settings.secrets_path)
    given = _given_now(settings, machines, release, initial_state, members)
    changes = _observed_changes(hosts, settings, machines, given)

    def one(host: Host) -> Changes:
        change = changes[host.name]
        _bring(host, change)
        report(host.name, f"machine files: {len(change.files)} written" if change else "machine files: unchanged")
        return change

    return joined(hosts.each(one, machines, what="Setting up"))


def _bring(host: Host, change: Changes) -> None:
    if not change:
        return
    folders = sorted({str(Path(file.path).parent) for file in change.files})
    if folders:
        host.run(["mkdir", "-p", "--", *folders], sudo=True)
    for file in change.files:
        host.put_bytes(file.content.encode(), file.path, mode=file.mode, sudo=True)
    if change.reload_units:
        host.run(["systemctl", "daemon-reload"], sudo=True)
    if change.restart_docker:
        host.run(["systemctl", "restart", "docker.service"], sudo=True)
    if change.enable:
        host.run(["systemctl", "enable", "--quiet", *change.enable], sudo=True)
    if change.start:
        host.run(["systemctl", "start", *change.start], sudo=True)


def _observed_changes(
    hosts: Hosts, settings: Settings, machines: Sequence[Machine], given: _Given
) -> dict[str, Changes]:
    """Look at all machines and return what each needs. Raises HostsFailed naming those that can't be had or used."""

    def observe(host: Host) -> Changes:
        config = _config(settings, host.machine, given)
        shown = host.run(Script("compare files", OBSERVE, *shell_arguments(config)), sudo=True)
        return plan_changes(config, parse_observed(shown.stdout, _shared(host)))

    return joined(hosts.each(observe, machines, what="Looking at the machines"))


def _shared(host: Host) -> dict[str, str]:
    """Return the text of the files that are not ours alone; empty where there is none."""
    shown = {path: host.run(["cat", "--", path], sudo=True, check=False) for path in SHARED}
    return {path: result.stdout if result.ok else "" for path, result in shown.items()}


def _given(
    settings: Settings,
    machines: Sequence[Machine],
    release: Image | None,
    initial_state: str,
    members: Sequence[Machine] | None,
) -> _Given:
    """Return what can be known without making anything; the CA and the keys follow."""
    etcd = registry.current_images(settings).get(settings.etcd.image)
    if etcd is None:
        raise Refused(f"image {settings.etcd.image} is not in the registry: inv build.all registry.push")
    cluster = _cluster(settings, machines, initial_state)
    return _Given(cluster, release or registry.current_release(settings), etcd, "", (), initial_state, members)


def _given_now(
    settings: Settings,
    machines: Sequence[Machine],
    release: Image | None,
    initial_state: str,
    members: Sequence[Machine] | None,
) -> _Given:
    """Return the same for machines that are up: nobody's ssh key is needed, since somebody logs in already."""
    authority = pki.authority_path(settings.secrets_path)
    given = _given(settings, machines, release, initial_state, members)
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
    settings: Settings, machines: Sequence[Machine], format: str, given: _Given
) -> dict[str, tuple[Path, str]]:
    where = paths(settings, machines, format)
    return {
        machine.name: (where[machine.name], cloudconfig.render(_config(settings, machine, given), format))
        for machine in machines
    }


def _config(settings: Settings, machine: Machine, given: _Given) -> MachineConfig:
    return cloudconfig.machine_config(
        settings,
        machine,
        given.cluster,
        release=given.release,
        etcd=given.etcd,
        registry_ca=given.registry_ca,
        authorized_keys=given.keys,
        initial_state=given.initial_state,
        members=given.members,
    )


def _own_key(settings: Settings) -> Path | None:
    """Return where the cluster's own ssh key is (or will be); None when the operator's is configured."""
    return None if settings.ssh.key else settings.secrets_path / "ssh" / "id_ed25519"


def _authorized_keys(settings: Settings) -> list[str]:
    key = _own_key(settings) or settings.root / Path(settings.ssh.key).expanduser()
    return [ssh_keypair.public_key(key), *settings.machine.authorized_keys]


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
