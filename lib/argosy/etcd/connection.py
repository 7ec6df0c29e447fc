"""The way to a cluster's etcd: straight to each machine, or through ssh where an entry node stands before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from argosy.errors import ConfigError
from argosy.etcd import rpc
from argosy.etcd.client import Etcd
from argosy.etcd.statuses import Endpoint
from argosy.model import Machine

if TYPE_CHECKING:
    from argosy.config.loading import Settings
    from argosy.ssh.host import Hosts


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a client of etcd trusts, and shows of itself: PEM."""

    authority: bytes
    certificate: bytes
    key: bytes


@contextmanager
def connect(
    settings: Settings,
    machines: Sequence[Machine],
    hosts: Hosts | None = None,
    credentials: Credentials | None = None,
) -> Iterator[Etcd]:
    """Give a client of the etcd that runs on `machines`, with the operator's certificate (mutual TLS), or another's.

    With `ssh.entry_node` each member is reached by a tunnel through its machine; `hosts`: their connections, when they
    are open already. Connecting itself never fails for an unreachable member: the first call tells.
    Raises ConfigError when this host has no certificate that the cluster's CA has signed, and can't make one.
    """
    found = credentials or operator_credentials(settings)
    channel = rpc.grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
    with ExitStack() as stack:
        endpoints, unreachable = _endpoints(settings, machines, hosts, stack)
        store = Etcd(settings.cluster, endpoints, channel, settings.etcd.timeout_seconds, unreachable=unreachable)
        stack.callback(store.close)
        yield store


def operator_credentials(settings: Settings) -> Credentials:
    """Return what this host shows of itself to etcd. Raises ConfigError as `connect` does."""
    from argosy.pki import authority as pki

    authority = pki.authority_path(settings.secrets_path)
    if not authority.exists():
        raise ConfigError(
            "this host has no CA of the cluster; run this where it was set up, or join it: inv operator.join BUNDLE",
            str(authority),
        )
    pair = pki.ensure_operator_certificate(settings.secrets_path)
    return Credentials(authority.read_bytes(), pair.certificate.read_bytes(), pair.key.read_bytes())


@contextmanager
def reaching(store: Etcd, settings: Settings, machines: Sequence[Machine], hosts: Hosts) -> Iterator[None]:
    """Let `store` use the etcd of these machines, too, as long as the context lasts; they have joined meanwhile."""
    with ExitStack() as stack:
        store.extend(_endpoints(settings, machines, hosts, stack)[0])
        yield


def _endpoints(
    settings: Settings, machines: Sequence[Machine], hosts: Hosts | None, stack: ExitStack
) -> tuple[list[Endpoint], dict[str, str]]:
    port = settings.etcd.client_port
    if not settings.ssh.entry_node:
        return [Endpoint(machine.name, f"{machine.address}:{port}", machine.address, port) for machine in machines], {}
    from argosy.ssh.host import Hosts

    hosts = hosts or stack.enter_context(Hosts(settings, machines))
    outcomes = hosts.each(lambda host: host.connect(), machines, what="Connecting")
    endpoints: list[Endpoint] = []
    for machine in machines:
        if outcomes[machine.name].ok:
            host, local = stack.enter_context(hosts[machine].tunnel(port, machine.address))
            endpoints.append(Endpoint(machine.name, f"{machine.address}:{port}", host, local, machine.name))
    return endpoints, {name: str(outcome.error) for name, outcome in outcomes.items() if not outcome.ok}
