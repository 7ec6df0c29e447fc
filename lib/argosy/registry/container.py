"""Our own registry: a container on this host, over TLS, behind a password, its data on a volume."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt
import docker

from argosy import atomic, pki
from argosy.config import Settings, VolumeSettings
from argosy.console import Report
from argosy.engine import ContainerSpec, Outcome, ensure_container, expected_outcome, find_container, remove_container
from argosy.engine_connection import connect, is_local_address, refusals
from argosy.engine_images import stored_images
from argosy.errors import ConfigError, Refused, RegistryError
from argosy.local_names import container_name, labels_of, volume_name
from argosy.model import Step
from argosy.operations import secrets
from argosy.operations.registry import access
from argosy.operations.registry.trust import trust_registry
from argosy.versions import newest_of

LOOPBACK = "127.0.0.1"
INSIDE_PORT = 5000
DATA = "/var/lib/registry"
DEADLINE_SECONDS = 60
FILES = ("tls.crt", "tls.key", "htpasswd")
BCRYPT_BYTES = 72
# The registry hashes the password again for every request, so a pull of many layers pays this often. Each step doubles
# it; 5 (2 ms) is what Apache's htpasswd takes. Our own passwords are too random to be guessed at any cost.
BCRYPT_ROUNDS = 5
READ_ONLY = {"REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled": true}'}
RUNS = {"created": "started", "started": "started", "replaced": "started again, since its settings changed"}


@dataclass(frozen=True, slots=True)
class RegistryStatus:
    """`container`: running, stopped, absent; `answers`: its API takes our password; `reason`: why it doesn't."""

    address: str
    container: str
    image: str
    answers: bool
    reason: str


def name_of(settings: Settings) -> str:
    return container_name(settings, "registry")


def plan_start(settings: Settings) -> list[Step]:
    """Return what `start` would do, changing nothing."""
    addresses = bind_addresses(settings)
    with connect() as client, refusals("registry"):
        reference = image_reference(client, settings)
        folder = settings.secrets_path / "registry"
        files = {name: folder / name for name in FILES}
        if all(path.is_file() for path in files.values()):
            outcome = expected_outcome(client, registry_spec(settings, reference, addresses, files))
        else:
            outcome = "replaced" if find_container(client, name_of(settings)) else "created"
    where = f"{reference} on {', '.join(addresses)}"
    actions = {"created": f"run {where}", "started": "start it again", "replaced": f"replace it by {where}"}
    return [Step("registry", actions[outcome])] if outcome in actions else []


def start(settings: Settings, report: Report) -> Outcome:
    """Run the registry, wait until it answers with the password, let the local engine trust it. Idempotent.

    Makes the CA, the certificate, the password and its hash when they aren't there. Raises ConfigError when
    registry.address isn't an address of this host, Refused when the registry's image was never built.
    """
    addresses = bind_addresses(settings)
    with connect() as client:
        spec = registry_spec(settings, image_reference(client, settings), addresses, ensure_files(settings, addresses))
        with access.opened(settings, attempts=1) as registry:
            outcome = ensure_container(client, spec, lambda: _reason(registry.check), DEADLINE_SECONDS)
    trust_registry(settings, report)
    said = RUNS.get(outcome, "already running")
    report("registry", f"{said}: https://{settings.registry.address}")
    return outcome


def plan_stop(settings: Settings, remove_data: bool = False) -> list[Step]:
    """Return what `stop` would do, changing nothing."""
    with connect() as client, refusals("registry"):
        there = find_container(client, name_of(settings)) is not None
    steps = [Step("registry", "stop and remove its container")] if there else []
    return (
        [*steps, Step("registry", f"remove its volume {volume_name(settings, 'registry')}")] if remove_data else steps
    )


def stop(settings: Settings, report: Report, remove_data: bool = False) -> bool:
    """Stop and remove the container; its volume stays, unless `remove_data`. Returns whether anything was there."""
    with connect() as client, refusals("registry"):
        container = find_container(client, name_of(settings))
        if container:
            remove_container(container)
        volumes = client.volumes.list(filters={"name": volume_name(settings, "registry")}) if remove_data else []
        for volume in volumes:
            volume.remove()
    report("registry", "stopped" if container else "was not running")
    if volumes:
        report("registry", "its data is removed")
    return bool(container or volumes)


def status(settings: Settings) -> RegistryStatus:
    """Return how the registry is, whether it is our container or somebody else's."""
    address = access.required_address(settings)
    with connect() as client, refusals("registry"):
        container = find_container(client, name_of(settings))
        state = "absent" if container is None else "running" if container.status == "running" else "stopped"
        image = container.attrs["Config"]["Image"] if container else ""
    reason = _reason(lambda: _check(settings))
    return RegistryStatus(address, state, image, not reason, reason)


@contextmanager
def read_only(settings: Settings, client: docker.DockerClient) -> Iterator[str | None]:
    """Run our registry read-only for a while, so that its garbage can be collected; pulls go on.

    Yields the container's name, or nothing when the registry isn't a container of ours on this host. Whatever happens
    inside, it takes pushes again afterwards; after a kill, `start` sees to that.
    """
    with refusals("registry"):
        container = find_container(client, name_of(settings))
    if container is None or container.status != "running":
        yield None
        return
    addresses = bind_addresses(settings)
    files = ensure_files(settings, addresses)
    spec = registry_spec(settings, container.attrs["Config"]["Image"], addresses, files)
    with access.opened(settings, attempts=1) as registry:

        def ensure(wanted: ContainerSpec) -> None:
            ensure_container(client, wanted, lambda: _reason(registry.check), DEADLINE_SECONDS)

        try:
            ensure(replace(spec, env={**spec.env, **READ_ONLY}))
            yield spec.name
        finally:
            ensure(spec)


def renew(settings: Settings, report: Report) -> bool:
    """Run our registry again if its certificate or its password has changed, and let the local engine trust its CA.

    A registry that does not run stays so. Returns whether it was started again. Raises EngineError without an engine.
    """
    with connect() as client:
        with refusals("registry"):
            container = find_container(client, name_of(settings))
        trust_registry(settings, report)
        if container is None or container.status != "running":
            return False
        addresses = bind_addresses(settings)
        spec = registry_spec(settings, container.attrs["Config"]["Image"], addresses, ensure_files(settings, addresses))
        with access.opened(settings, attempts=1) as registry:
            outcome = ensure_container(client, spec, lambda: _reason(registry.check), DEADLINE_SECONDS)
    if outcome in RUNS:
        report("registry", RUNS[outcome])
    return outcome in RUNS


def ensure_files(settings: Settings, addresses: list[str]) -> dict[str, Path]:
    """Make the files that the registry's container mounts, where they lack or don't fit any more; return them."""
    secrets.registry_password(settings)  # made here when it is ours to make
    names = [host_of(settings), *filter(None, [settings.discovered_registry.partition(":")[0]])]
    pair = pki.ensure_registry_certificate(settings.secrets_path, [*addresses, *names])
    return {"tls.crt": pair.certificate, "tls.key": pair.key, "htpasswd": ensure_htpasswd(settings)}


def registry_spec(settings: Settings, image: str, addresses: list[str], files: Mapping[str, Path]) -> ContainerSpec:
    """Return the container of the registry. `files`: those of FILES, by name."""
    port = port_of(settings)
    return ContainerSpec(
        name=name_of(settings),
        image=image,
        labels=labels_of(settings, "registry"),
        env={
            "REGISTRY_HTTP_TLS_CERTIFICATE": "/run/secrets/tls.crt",
            "REGISTRY_HTTP_TLS_KEY": "/run/secrets/tls.key",
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "argosy",
            "REGISTRY_AUTH_HTPASSWD_PATH": "/run/secrets/htpasswd",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": DATA,
            "REGISTRY_STORAGE_DELETE_ENABLED": "true",
        },
        ports=[f"{address}:{port}:{INSIDE_PORT}" for address in addresses],
        volumes=[VolumeSettings(source=volume_name(settings, "registry"), target=DATA)],
        secrets=files,
    )


def image_reference(client: docker.DockerClient, settings: Settings) -> str:
    """Return the newest version here of the registry's image. Raises Refused when it was never built."""
    name = settings.local.registry_image
    newest = newest_of(stored_images(client, settings.system)).get(name)
    if newest is None:
        raise Refused(f"image {name} was not built yet: inv build.images --only {name}")
    return f"{access.repository(settings, name)}:{newest.version}"


def host_of(settings: Settings) -> str:
    return access.required_address(settings).rpartition(":")[0]


def port_of(settings: Settings) -> int:
    return int(access.required_address(settings).rpartition(":")[2])


def bind_addresses(settings: Settings) -> list[str]:
    """Return the addresses to listen on: registry.bind, or loopback and the host of registry.address.

    Raises ConfigError when one isn't an address of this host.
    """
    key = "registry.bind" if settings.registry.bind else "registry.address"
    addresses = settings.registry.bind or [LOOPBACK, _resolved(host_of(settings))]
    for address in addresses:
        if not is_local_address(address):
            raise ConfigError(
                f"{address} is not an address of this host, so no registry can listen there: give one that "
                "`ip address` shows, or use the registry that runs there without registry.start",
                key,
            )
    return list(dict.fromkeys(addresses))


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise ConfigError(f"the name {host} has no address: {error.strerror}", "registry.address") from None


def ensure_htpasswd(settings: Settings) -> Path:
    """Return the file with the user and the password's bcrypt hash, written again only when either has changed."""
    path = settings.secrets_path / "registry" / "htpasswd"
    secret = access.password(settings).encode()
    if len(secret) > BCRYPT_BYTES:
        raise ConfigError(f"our registry takes passwords of at most {BCRYPT_BYTES} bytes", "registry.password")
    known = path.read_bytes().strip() if path.is_file() else b""
    prefix = f"{settings.registry.user}:$2b${BCRYPT_ROUNDS:02}$".encode()
    if not known.startswith(prefix) or not bcrypt.checkpw(secret, known.partition(b":")[2]):
        atomic.ensure_private_folder(path.parent)
        line = f"{settings.registry.user}:".encode() + bcrypt.hashpw(secret, bcrypt.gensalt(BCRYPT_ROUNDS)) + b"\n"
        atomic.write(path, line, mode=0o600)
    return path


def _check(settings: Settings) -> None:
    with access.opened(settings, attempts=1) as registry:
        registry.check()


def _reason(check: Callable[[], None]) -> str:
    """Return why `check` fails, or nothing."""
    try:
        check()
    except RegistryError as error:
        return str(error)
    return ""
