"""The agent's way to etcd: the cluster's members, its own machine's first, with the machine's certificate."""

from __future__ import annotations

from dataclasses import dataclass, field

from argosy.agent.options import Options
from argosy.errors import ConfigError
from argosy.etcd import rpc
from argosy.etcd.client import Etcd
from argosy.etcd.statuses import Endpoint


@dataclass(frozen=True, slots=True)
class Credentials:
    """What etcd knows this machine by, as PEM files hold it."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)


def read_credentials(options: Options) -> Credentials:
    """Return the machine's credentials as they are on disk now. Raises ConfigError when they can't be read."""
    secrets = options.paths.secrets
    try:
        return Credentials(
            *((secrets / name).read_bytes() for name in ("ca.crt", "etcd-client.crt", "etcd-client.key"))
        )
    except OSError as error:
        raise ConfigError(f"etcd's certificates can't be read: {error}", str(secrets)) from None


def open_store(options: Options) -> Etcd:
    """Return a client of the cluster's etcd, with the credentials of now; who takes it closes it.

    Never fails for a member that is not there. Raises ConfigError when the credentials can't be read.
    """
    found = read_credentials(options)
    credentials = rpc.grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
    endpoints = [Endpoint(host, f"{host}:{port}", host, port) for host, port in options.endpoints]
    return Etcd(options.cluster, endpoints, credentials, options.tunables.etcd_seconds, first=options.address)
