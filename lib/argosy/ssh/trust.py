"""Which host key a host must show, and what is said when it shows another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import paramiko

from argosy.errors import HostKeyMismatch
from argosy.ssh.known_hosts import HostKey, entry_name, read, trust_command

if TYPE_CHECKING:
    from argosy.ssh.link import Link

# What every sshd of the last ten years speaks; paramiko's own list goes down to 3DES and MD5. With GCM a packet's
# cipher and checksum are one call into OpenSSL, which with CTR and HMAC is Python's own work.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes128-ctr")
DIGESTS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")


def transport(sock: Any, **options: Any) -> paramiko.Transport:
    """Return a paramiko transport over `sock` that agrees to nothing weak (`SSHClient.connect`'s transport_factory)."""
    made = paramiko.Transport(sock, **options)
    security = made.get_security_options()
    security.ciphers, security.digests = CIPHERS, DIGESTS
    return made


class _UnknownHostKey(Exception):
    def __init__(self, key: HostKey) -> None:
        self.key = key
        super().__init__(key.fingerprint)


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> NoReturn:  # noqa: ARG002
        raise _UnknownHostKey(HostKey(key.get_name(), key.get_base64()))


def pin_client(client: paramiko.SSHClient, pinned: Iterable[HostKey], address: str, port: int) -> None:
    """Make `client` accept these keys for the host and no other."""
    client.set_missing_host_key_policy(_RefuseUnknown())
    accepted = client.get_host_keys()
    # paramiko asks the server for the kind of key that stands first.
    for key in sorted(pinned, key=lambda key: key.type != "ssh-ed25519"):
        with contextlib.suppress(paramiko.pkey.UnknownKeyType, paramiko.SSHException):
            loaded = paramiko.PKey.from_type_string(key.type, key.raw)
            accepted.add(entry_name(address, port), key.type, loaded)


@contextlib.contextmanager
def host_key_checked(host: Link) -> Iterator[None]:
    """Raise HostKeyMismatch where the body meets a key that is not the pinned one."""
    name, address, port, known_hosts = host.name, host.address, host.ssh.port, host.known_hosts
    trust = trust_command(host.machine.address, port)
    try:
        yield
    except _UnknownHostKey as error:
        raise HostKeyMismatch(
            name,
            f"the host key of {address} ({error.key.fingerprint}) is not in {known_hosts}; "
            f"compare it with the machine's own, then: {trust}",
        ) from None
    except paramiko.BadHostKeyException as error:
        shown = HostKey(error.key.get_name(), error.key.get_base64()).fingerprint
        expected = ", ".join(key.fingerprint for key in read(known_hosts).get(entry_name(address, port), ()))
        raise HostKeyMismatch(
            name,
            f"{address} shows the host key {shown}, but {expected} is pinned in {known_hosts}: it was made anew, or "
            f"somebody answers in its place; only if it was made anew, trust its new key: {trust}",
        ) from None
