"""operator.join: a bundle's files take their places in this checkout, each of them in one step.

    secrets/CLUSTER/pki/ca.crt, operator.{crt,key}, operator.name, and ca.key with the rights full
    secrets/CLUSTER/ssh/operator_ed25519{,.pub}, and authorized_keys with the rights full
    the registry's password, where registry.password has it (secrets/CLUSTER/registry.password), and those of registries
    .argosy/CLUSTER/machines.json, known_hosts      what is not there yet

The name comes first: a checkout that is killed half-way is nobody else. What is here already of the same operator is
brought up to date, as when its bundle was made anew; what is somebody else's is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy import atomic, inventory
from argosy.config.loading import Settings
from argosy.errors import ConfigError, Refused
from argosy.model import Machine, Step
from argosy.operators.bundle import Bundle
from argosy.pki import authority
from argosy.registry import access
from argosy.secrets import sources
from argosy.secrets.value import Secret
from argosy.ssh import keypair, known_hosts, pins
from argosy.ssh.known_hosts import HostKey


@dataclass(frozen=True, slots=True)
class Joined:
    """`files`: what is written; `machines`, `host_keys`: names and entries that are new here; `next_steps`: what is
    left for somebody to do."""

    files: tuple[Path, ...]
    machines: tuple[str, ...]
    host_keys: tuple[str, ...]
    next_steps: tuple[str, ...]

    def steps(self) -> list[Step]:
        steps = [Step("here", f"write {path}") for path in self.files]
        steps += [Step("here", f"remember {name}") for name in self.machines]
        return steps + [Step("here", f"pin the host key of {entry}") for entry in self.host_keys]

    def to_json(self) -> dict[str, Any]:
        """Return {"files", "machines", "host_keys", "next_steps"}, lists of text."""
        return {
            "files": [str(path) for path in self.files],
            "machines": list(self.machines),
            "host_keys": list(self.host_keys),
            "next_steps": list(self.next_steps),
        }


def plan(settings: Settings, bundle: Bundle) -> Joined:
    """Return what `join` would do, changing nothing. Raises ConfigError, Refused."""
    _refuse_another_cluster(settings, bundle)
    files = _files(settings, bundle)
    _refuse_another_operator(settings, files)
    pinned = known_hosts.read(pins.path(settings))
    _refuse_other_host_keys(settings, bundle, pinned)
    known = inventory.load(settings)
    taken = {machine.name for machine in known} | {machine.address for machine in known}
    return Joined(
        tuple(path for path, secret in files.items() if not _holds(path, secret)),
        tuple(machine.name for machine in bundle.machines if not {machine.name, machine.address} & taken),
        tuple(entry for entry in bundle.known_hosts if entry not in pinned),
        tuple(_next_steps(settings, bundle)),
    )


def join(settings: Settings, bundle: Bundle) -> Joined:
    """Make this checkout one of the bundle's operator, and return what was done. Idempotent; resumes.

    Raises ConfigError, Refused for another cluster's or operator's, with nothing changed.
    """
    joined = plan(settings, bundle)
    atomic.ensure_private_folder(settings.secrets_path)
    files = _files(settings, bundle)
    with atomic.locked(settings.secrets_path / ".lock"):
        for path in joined.files:
            if path.is_relative_to(settings.secrets_path):
                atomic.ensure_private_folder(path.parent)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.write(path, files[path].reveal(), mode=_mode(path))
    settings.state_path.mkdir(parents=True, exist_ok=True)
    for entry in joined.host_keys:
        address, port = known_hosts.place(entry)
        known_hosts.pin(pins.path(settings), address, port, *bundle.known_hosts[entry])
    new = [machine for machine in bundle.machines if machine.name in joined.machines]
    if new:
        inventory.remember(settings, [Machine(it.name, it.address, it.os, dict(it.metadata)) for it in new])
    return joined


def _files(settings: Settings, bundle: Bundle) -> dict[Path, Secret]:
    folder = settings.secrets_path
    ssh_key = keypair.joined_key_path(settings)
    found = {
        folder / "pki" / authority.OPERATOR_NAME: f"{bundle.name}\n",
        folder / "pki" / "operator.key": bundle.certificate_key,
        authority.operator_path(folder): bundle.certificate,
        authority.authority_path(folder): bundle.authority,
        ssh_key: bundle.ssh_key,
        ssh_key.with_name(f"{ssh_key.name}.pub"): f"{bundle.ssh_public_key}\n",
    }
    if bundle.authority_key:
        found[folder / "pki" / "ca.key"] = bundle.authority_key
    if bundle.authorized_keys:
        found[keypair.joined_authorized_keys_path(settings)] = "".join(f"{line}\n" for line in bundle.authorized_keys)
    source = sources.registry_password_source(settings)
    if bundle.registry_password and not source.command:
        found[source.path] = bundle.registry_password
    for place, password in bundle.registries.items():
        if place in settings.registries and not (login := sources.login_source(settings, place)).command:
            found[login.path] = password
    return {path: Secret(text.encode()) for path, text in found.items()}


def _refuse_another_cluster(settings: Settings, bundle: Bundle) -> None:
    if (bundle.system, bundle.cluster) != (settings.system, settings.cluster):
        raise ConfigError(
            f"the bundle is for the cluster {bundle.cluster} of the system {bundle.system}, and this is "
            f"{settings.cluster} of {settings.system}: --cluster {bundle.cluster}",
            "bundle",
        )


def _refuse_another_operator(settings: Settings, files: Mapping[Path, Secret]) -> None:
    """Raise Refused when something here is another's, unless this checkout is the bundle's operator already.

    That is so, too, when the operator was removed and added again, which has given it other keys.
    """
    folder = settings.secrets_path
    key, ca, ca_key = (folder / "pki" / name for name in ("operator.key", "ca.crt", "ca.key"))
    again = authority.operator_name(folder) == files[folder / "pki" / authority.OPERATOR_NAME].reveal().decode().strip()
    if _holds(key, files[key]) or (again and _holds(ca, files[ca]) and (ca_key in files or not ca_key.exists())):
        return
    public = folder / "pki" / authority.OPERATOR_NAME
    others = [
        path
        for path, secret in files.items()
        if path.exists() and path.read_bytes().removesuffix(b"\n") != secret.reveal().removesuffix(b"\n")
    ]
    if others:
        who = authority.operator_name(folder) or "the operator who set it up"
        named = ", ".join(map(str, others))
        detail = f" (it is {who}'s)" if key.exists() or public.exists() else ""
        raise Refused(f"this checkout has others than the bundle's{detail}: {named}; join from another checkout")


def _refuse_other_host_keys(settings: Settings, bundle: Bundle, pinned: Mapping[str, tuple[HostKey, ...]]) -> None:
    for entry, lines in bundle.known_hosts.items():
        if entry in pinned and not set(map(str, pinned[entry])) & set(lines):
            path, trust = pins.path(settings), known_hosts.trust_command(*known_hosts.place(entry))
            raise Refused(
                f"{entry} has another host key in {path} than in the bundle: compare it with the machine's own, then "
                f"{trust}, or remove its line"
            )


def _next_steps(settings: Settings, bundle: Bundle) -> Iterator[str]:
    if bundle.registry_address != settings.registry.address:
        yield f"registry.address is {settings.registry.address} here, and {bundle.registry_address} in the bundle"
    elif _prints_another_password(settings, bundle):
        yield "registry.password.command prints another password than the bundle has"
    for place in bundle.registries:
        if place not in settings.registries:
            yield f"registries.{place} is not in the configuration here, and in the bundle"
    if bundle.authority_key:
        yield "inv secrets.fetch brings the cluster's secrets, to change them from here"


def _prints_another_password(settings: Settings, bundle: Bundle) -> bool:
    printed = bool(bundle.registry_password and sources.registry_password_source(settings).command)
    return printed and access.password(settings) != bundle.registry_password


def _holds(path: Path, secret: Secret) -> bool:
    return path.is_file() and path.read_bytes() == secret.reveal() and path.stat().st_mode & 0o777 == _mode(path)


def _mode(path: Path) -> int:
    return 0o644 if path.suffix in (".crt", ".pub", ".name") or path.name == "authorized_keys" else 0o600
