"""The names that `provider:` takes. What stands behind each is for argosy.providers to know; nothing heavy is here."""

from __future__ import annotations

IMPLEMENTATIONS: dict[str, object] = {
    "static": "argosy.providers.base:Provider",
    "vagrant": "argosy.local.provider:VagrantProvider",
    "gce": "argosy.gce.provider:GceProvider",
}
"""Each provider, or where its class is, as MODULE:CLASS, to be imported when it is first asked."""
