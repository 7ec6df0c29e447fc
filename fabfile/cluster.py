"""A cluster: its machines' cloud-config, secrets and installs; seeing it and reaching into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.config import load
from argosy.tasking import task

if TYPE_CHECKING:
    from invoke.context import Context
