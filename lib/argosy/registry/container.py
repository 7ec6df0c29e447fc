"""Our own registry: a container on this host, over TLS, behind a password, its data on a volume."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt
import docker

from argosy import atomic
from argosy.config.loading import Settings, VolumeSettings
from argosy.config.references import split_address
from argosy.engine.checkout import keep
from argosy.engine.connection import connect, is_local_address, refusals
from argosy.engine.containers import (
    ContainerSpec,
    Outcome,
    ensure_container,
    expected_outcome,
    find_container,
    remove_container,
)
from argosy.engine.names import container_name, labels_of
from argosy.engine.ownership import adopt, claims_of_others, own, refuse_claimed, remove_own
from argosy.errors import ConfigError, Refused, RegistryError
from argosy.images.repositories import on_engine
from argosy.images.store import stored_images
from argosy.images.versions import newest_of
from argosy.model import Step
from argosy.pki import authority
from argosy.registry import access
from argosy.registry.trust import distrust_registry, is_trusted, refuse_other_trust, trust_registry
from argosy.report import Report
from argosy.secrets import upload

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


@contextmanager
def opened(settings: Settings) -> Iterator[docker.DockerClient]:
    """Yield a client of the engine, on which our registry is known as ours, also one older than our labels."""
    with connect() as client:
        adopt(client, settings)
        yield client


def name_of(settings: Settings) -> str:
    return container_name(settings, "registry")


def is_built(settings: Settings) -> bool:
    """Return whether a version of the registry's image is here."""
    with opened(settings) as client:
        return settings.local.registry_image in newest_of(stored_images(client, settings.system))


def plan_start(settings: Settings) -> list[Step]:
    """Return what `start` would do, changing nothing."""
    addresses = bind_addresses(settings)
    with opened(settings) as client, refusals("registry"):
        _refuse_claimed(client, settings, addresses)
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
    registry.address isn't an address of this host, Refused when the registry's image was never built, or another
    checkout's cluster has the port.
    """
    addresses = bind_addresses(settings)
    with opened(settings) as client:
        _refuse_claimed(client, settings, addresses)
        outcome = _ensure(client, settings, image_reference(client, settings))
    trust_registry(settings, report)
    said = RUNS.get(outcome, "already running")
    report("registry", f"{said}: https://{settings.registry.address}")
    return outcome


def plan_stop(settings: Settings, remove_data: bool = False) -> list[Step]:
    """Return what `stop` would do, changing nothing."""
    with opened(settings) as client, refusals("registry"):
        there = find_container(client, name_of(settings)) is not None
        volumes = own(client, settings, "registry", ("volume",)) if remove_data else []
    steps = [Step("registry", "stop and remove its container")] if there else []
    if remove_data and is_trusted(settings):
        steps.append(Step("registry", "let this host's engine no longer trust its CA"))
    return steps + [Step("registry", f"remove its {volume}") for volume in volumes]


def stop(settings: Settings, report: Report, remove_data: bool = False) -> bool:
    """Stop and remove the container; its volume, and the engine's trust in it, stay, unless `remove_data`.

    Returns whether anything was there.
    """
    with opened(settings) as client, refusals("registry"):
        container = find_container(client, name_of(settings))
        if container:
            remove_container(container)
        volumes = remove_own(client, settings, "registry", ("volume",)) if remove_data else []
    if remove_data:
        distrust_registry(settings, report)
    report("registry", "stopped" if container else "was not running")
    if volumes:
        report("registry", "its data is removed")
    return bool(container or volumes)


def status(settings: Settings) -> RegistryStatus:
    """Return how the registry is, whether it is our container or somebody else's."""
    address = access.required_address(settings)
    with opened(settings) as client, refusals("registry"):
        container = find_container(client, name_of(settings))
        state = "absent" if container is None else "running" if container.status == "running" else "stopped"
        image = container.attrs["Config"]["Image"] if container else ""
    reason = _reason(lambda: _check(settings))
    return RegistryStatus(address, state, image, not reason, reason)


@contextmanager
def read_only(settings: Settings, client: docker.DockerClient) -> Iterator[str | None]:
    """Run our registry read-only for a while, so that its garbage can be collected; pulls still work.

    Yields the container's name, or nothing when the registry isn't a container of ours on this host. Whatever happens
    inside, it takes pushes again afterwards; after a kill, `start` sees to that.
    """
    adopt(client, settings)
    with refusals("registry"):
        container = find_container(client, name_of(settings))
    if container is None or container.status != "running":
        yield None
        return
    image = container.attrs["Config"]["Image"]
    try:
        _ensure(client, settings, image, READ_ONLY)
        yield name_of(settings)
    finally:
        _ensure(client, settings, image)


def renew(settings: Settings, report: Report) -> bool:
    """Run our registry again if its certificate or its password has changed, and let the local engine trust its CA.

    A registry that does not run stays so. Returns whether it was started again. Raises EngineError without an engine.
    """
    with opened(settings) as client:
        with refusals("registry"):
            container = find_container(client, name_of(settings))
        trust_registry(settings, report)
        if container is None or container.status != "running":
            return False
        outcome = _ensure(client, settings, container.attrs["Config"]["Image"])
    if outcome in RUNS:
        report("registry", RUNS[outcome])
    return outcome in RUNS


def _ensure(
    client: docker.DockerClient, settings: Settings, image: str, env: Mapping[str, str] | None = None
) -> Outcome:
    """Run the registry and wait until it answers with the password. `env`: more variables for it."""
    addresses = bind_addresses(settings)
    keep(settings)
    spec = registry_spec(settings, image, addresses, ensure_files(settings, addresses))
    wanted = replace(spec, env={**spec.env, **(env or {})})
    with access.opened(settings, attempts=1) as registry:
        return ensure_container(client, wanted, lambda: _reason(registry.check), DEADLINE_SECONDS)


def _refuse_claimed(client: docker.DockerClient, settings: Settings, addresses: Sequence[str]) -> None:
    """Raise Refused when another checkout's cluster has a port that our registry, which does not run yet, needs; or its
    CA is trusted there."""
    refuse_other_trust(settings)
    container = find_container(client, name_of(settings))
    if container is None or container.status != "running":
        claims = claims_of_others(client, settings)
        for address in addresses:
            refuse_claimed(claims, address, port_of(settings), "registry.address")


def ensure_files(settings: Settings, addresses: list[str]) -> dict[str, Path]:
    """Make the files that the registry's container mounts, where they lack or no longer fit; return them."""
    upload.registry_password(settings)  # made here when it is ours to make
    names = [host_of(settings), *filter(None, [settings.discovered_registry.partition(":")[0]])]
    pair = authority.ensure_registry_certificate(settings.secrets_path, [*addresses, *names])
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
        volumes=[VolumeSettings(source=name_of(settings), target=DATA)],
        secrets=files,
    )


def image_reference(client: docker.DockerClient, settings: Settings) -> str:
    """Return the newest version here of the registry's image. Raises Refused when it was never built."""
    name = settings.local.registry_image
    newest = newest_of(stored_images(client, settings.system)).get(name)
    if newest is None:
        raise Refused(f"image {name} was not built yet: inv build.images --only {name}")
    return f"{on_engine(settings, name)}:{newest.version}"


def host_of(settings: Settings) -> str:
    return split_address(access.required_address(settings))[0]


def port_of(settings: Settings) -> int:
    return split_address(access.required_address(settings))[1]


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
