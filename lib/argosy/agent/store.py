"""The agent's way to etcd: the cluster's members, its own machine's first, with the machine's certificate."""

from __future__ import annotations

from argosy.agent.options import Options
from argosy.errors import ConfigError
from argosy.etcd import rpc
from argosy.etcd.client import Etcd
from argosy.etcd.telling import Endpoint


def open_store(options: Options) -> Etcd:
    """Return a client of the cluster's etcd; who takes it closes it.

    The certificate is read now: the unit starts the agent anew when the machine gets another. Never fails for a
    member that is not there. Raises ConfigError when the certificates can't be read.
    """
    secrets = options.paths.secrets
    try:
        authority, certificate, key = (
            (secrets / name).read_bytes() for name in ("ca.crt", "etcd-client.crt", "etcd-client.key")
        )
    except OSError as error:
        raise ConfigError(f"etcd's certificates can't be read: {error}", str(secrets)) from None
    credentials = rpc.grpc.ssl_channel_credentials(authority, key, certificate)
    endpoints = [Endpoint(host, f"{host}:{port}", host, port) for host, port in options.endpoints]
    return Etcd(options.cluster, endpoints, credentials, options.tunables.etcd_seconds, first=options.address)
