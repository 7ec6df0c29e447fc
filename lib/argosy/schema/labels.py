"""Pure. The labels by which a machine's agent knows the containers that it registers: their names, once.

What they mean stands in `argosy.schema.declared`, which reads them, and in docs/discovery.md.
"""

from __future__ import annotations

SYSTEM = "argosy.system"
UNIT = "argosy.unit"
VERSION = "argosy.version"
REVISION = "argosy.revision"

SERVICE = "argosy.service"
SCHEME = "argosy.scheme"
PORT = "argosy.port"
HOST_PORT = "argosy.host_port"
PRIVATE = "argosy.private"
SNI = "argosy.sni"
WEIGHT = "argosy.weight"
CHECK = "argosy.check"
COMMAND = "argosy.check.command"
SECONDS = "argosy.check.seconds"

SCHEDULED = "argosy.scheduled"
"""On a service of Swarm: the scheduled service that it is a generation of."""
GENERATION = "argosy.generation"
"""On a service of Swarm and on its containers."""

MACHINE_LABEL = "argosy.machine"
"""A node's label: the machine's name. The machine's metadata are labels under their own names."""
HOME_LABEL = "argosy.home."
"""Before the name of a scheduled service, a node's label: the machine has its volumes."""
