"""Pure. A machine, described once, and the dialects of cloud-config that write it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.cloudconfig.dialects import cloud_init, coreos, ignition
from argosy.cloudconfig.dialects.machine import MachineConfig


@dataclass(frozen=True, slots=True)
class Dialect:
    """`render`: a machine's description -> the text of its file, whose name ends with `suffix`."""

    render: Callable[[MachineConfig], str]
    suffix: str


DIALECTS = {
    "cloud-init": Dialect(cloud_init.render, ".yaml"),
    "coreos": Dialect(coreos.render, ".yaml"),
    "ignition": Dialect(ignition.render, ".ign"),
}
