"""The way to a cluster's etcd: straight to each machine, or through ssh where an entry node stands before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from argosy.errors import ConfigError
from argosy.etcd import rpc
from argosy.etcd.client import Etcd
from argosy.etcd.telling import Endpoint
from argosy.model import Machine

if TYPE_CHECKING:
    from argosy.config import Settings
    from argosy.host import Hosts


@contextmanager
def connect(settings: Settings, machines: Sequence[Machine], hosts: Hosts | None = None) -> Iterator[Etcd]:
    """Give a client of the etcd that runs on `machines`, with the operator's certificate (mutual TLS).

    With `ssh.entry_node` each member is reached by a tunnel through its machine; `hosts`: their connections, when they
    are open already. Connecting itself never fails for an unreachable member: the first call tells.
    Raises ConfigError when this host does not hold the cluster's CA.
    """
    from argosy import pki

    authority = pki.authority_path(settings.secrets_path)
    if not authority.exists():
        raise ConfigError("this host has no CA of the cluster; run this where it was set up", str(authority))
    pair = pki.ensure_operator_certificate(settings.secrets_path)
    credentials = rpc.grpc.ssl_channel_credentials(
        authority.read_bytes(), pair.key.read_bytes(), pair.certificate.read_bytes()
    )
    with ExitStack() as stack:
        endpoints, unreachable = _endpoints(settings, machines, hosts, stack)
        store = Etcd(settings.cluster, endpoints, credentials, settings.etcd.timeout_seconds, unreachable=unreachable)
        stack.callback(store.close)
        yield store


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
        return [Endpoint(it.name, f"{it.address}:{port}", it.address, port) for it in machines], {}
    from argosy.host import Hosts

    hosts = hosts or stack.enter_context(Hosts(settings, machines))
    outcomes = hosts.each(lambda host: host.connect(), machines, what="Connecting")
    endpoints: list[Endpoint] = []
    for machine in machines:
        if outcomes[machine.name].ok:
            host, local = stack.enter_context(hosts[machine].tunnel(port, machine.address))
            endpoints.append(Endpoint(machine.name, f"{machine.address}:{port}", host, local, machine.name))
    return endpoints, {name: str(it.error) for name, it in outcomes.items() if not it.ok}
