"""Pure. How a machine, its Docker daemon and its containers resolve the local domain (docs/dns.md).

dnsmasq listens on the address of Docker's bridge, for containers, and on a loopback address, for the machine itself.
It answers every name under `discovery.domain` with the bridge's address, where the machine's router listens.
"""

from __future__ import annotations

from argosy.config.settings import Settings

DEFAULT_BIP = "172.17.42.1/16"
"""Docker's own choice depends on what else is on the machine; whoever answers with the address must know it."""

LOOPBACK_ADDRESS = "127.0.0.42"
"""Not 127.0.0.1, where a resolver of the machine's owner may be, nor .11 (Docker's), .53 and .54 (systemd's)."""

UPSTREAM_FOLDER = "/run/dns"
"""Where the container has the machine's /run/SYSTEM/dns: the folder, since the file is replaced by renaming."""

UPSTREAM_NAME = "upstream.conf"
"""In the form of resolv.conf(5), written by the program use-dns: whom the machine asked before."""

BRIDGE = "@BRIDGE_ADDRESS@"
"""Replaced in the container by its variable BRIDGE_ADDRESS: a release is the same for machines with other bridges."""

CAPABILITIES = ("NET_BIND_SERVICE", "SETGID", "SETUID")
"""Port 53, and becoming the user dnsmasq, who has none of them."""

REVERSE_NAME = "router"


def bridge_interface(settings: Settings) -> str:
    """Return the address, with its prefix, of the bridge on each machine: `docker.bip`, else DEFAULT_BIP."""
    return settings.docker.bip or DEFAULT_BIP


def bridge_address(settings: Settings) -> str:
    """Return the address at which containers reach their machine's router, such as 172.17.42.1."""
    return bridge_interface(settings).partition("/")[0]


def container_servers(settings: Settings) -> list[str]:
    """Return the name servers of containers (dockerd --dns): our own first, when there is one."""
    return [*([bridge_address(settings)] if settings.discovery.enabled else []), *settings.docker.dns]


def container_arguments(
    *, domain: str, bridge_address: str = BRIDGE, upstream_file: str = f"{UPSTREAM_FOLDER}/{UPSTREAM_NAME}"
) -> list[str]:
    """Return the options of dnsmasq, to stand after the image in `docker run`.

    Neither --domain-needed nor --bogus-priv: the machine's own resolvers keep deciding on every name outside `domain`,
    such as short ones and those of private addresses, which a company's resolver or Docker's may well know.
    Source: https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html
    """
    return [
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=dnsmasq",
        "--group=nogroup",
        f"--listen-address={LOOPBACK_ADDRESS}",
        f"--listen-address={bridge_address}",
        # Not --bind-dynamic: that refuses TCP to 127.0.0.42, which is no interface's own address. The sockets outlive a
        # bridge that goes and comes back. Docker has made it before this container runs; else the unit tries again.
        "--bind-interfaces",
        f"--address=/{domain}/{bridge_address}",
        # Other types than A: no data, at once. Without this they would be asked upstream.
        f"--local=/{domain}/",
        # The name of the bridge's address.
        f"--host-record={REVERSE_NAME}.{domain},{bridge_address}",
        # The container's /etc/hosts is not the network's business.
        "--no-hosts",
        f"--resolv-file={upstream_file}",
        # use-dns keeps us out of the file; dnsmasq itself does not see that 127.0.0.42 is its own address.
        "--dns-loop-detect",
        "--cache-size=1000",
    ]


def check_command(domain: str) -> list[str]:
    """Return the argv that, run in the container, fails unless a name under `domain` is resolved."""
    return ["getent", "ahostsv4", f"{REVERSE_NAME}.{domain}"]
