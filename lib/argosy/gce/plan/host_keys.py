"""Pure. A new server's ssh host keys, as it has told them to the API.

Guest attributes: namespace `hostkeys`, key the type, value the base64 blob, as Google's guest agent writes them
(https://cloud.google.com/compute/docs/metadata/manage-guest-attributes). Serial console: whole lines as in
ssh_host_*_key.pub between the marks that cloud-init prints, or the ones that our own unit prints.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.gce.plan.names import Document

NAMESPACE = "hostkeys/"
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
KNOWN_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def from_attributes(items: Iterable[Document]) -> list[str]:
    """Return `TYPE BASE64` for each attribute that is a host key."""
    return [
        f"{item['key']} {str(item.get('value', '')).strip()}"
        for item in items
        if str(item.get("namespace", "")).strip("/") == NAMESPACE.strip("/") and item.get("key") in KNOWN_TYPES
    ]


def from_console(text: str) -> list[str]:
    """Return the `TYPE BASE64` lines of the last whole block; the console repeats them at every boot."""
    before, mark, _after = text.rpartition(END)
    _earlier, begin, block = before.rpartition(BEGIN)
    if not mark or not begin:
        return []
    words = [line.split() for line in block.splitlines()]
    # A getty's or the kernel's own lines may stand between them.
    return [f"{line[0]} {line[1]}" for line in words if len(line) >= 2 and line[0] in KNOWN_TYPES]
