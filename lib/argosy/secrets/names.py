"""Pure. The files of a machine's secrets folder, by name."""

from __future__ import annotations

from argosy.config.loading import Settings

COMMON_SECRETS = ("ca.crt", "etcd-client.crt", "etcd-client.key", "registry/config.json")
MEMBER_SECRETS = ("etcd-peer.crt", "etcd-peer.key", "etcd-server.crt", "etcd-server.key")
OWN_SECRETS = ("etcd-client.crt", "etcd-client.key", *MEMBER_SECRETS)
"""What each machine has of its own; all else is the same on every machine."""
FINGERPRINT_KEY = "fingerprint.key"
"""The key of the fingerprints that the cluster's record of its secrets holds; nothing else needs it."""


def required_secrets(settings: Settings, member: bool = True) -> list[str]:
    """Return the files under /etc/S/secrets without which a machine does not start. `member`: it runs etcd."""
    own = set(settings.secrets).union(*(service.secrets for service in settings.services.values()))
    return sorted({*COMMON_SECRETS, *(MEMBER_SECRETS if member else ()), *own})
