"""Pure. How an operation tells its progress."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, str], None]
"""How an operation tells its progress: `report(subject, message)`, the subject being a machine, an image, a service."""


def silent(_subject: str, _message: str) -> None:
    """Report nothing: a plan is all that is said."""
