"""Argosy: a handful of Linux machines with Docker and systemd, as a cluster.

`from argosy import ns` in a tasks.py mounts the task namespaces (`inv cluster.status`, `inv local.start`, ...).
The package itself imports nothing heavy: `ns` is made when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invoke.collection import Collection

    ns: Collection

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "ns":
        from argosy.tasks import root_collection

        namespace = globals()["ns"] = root_collection()
        return namespace
    raise AttributeError(f"module 'argosy' has no attribute {name!r}")
