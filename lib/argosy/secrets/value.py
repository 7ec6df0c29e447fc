"""A value that must not be seen: it shows itself only when asked for by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Bytes that stay out of logs, messages, JSON and debuggers' views: str, repr and format give `Secret(...)`."""

    _value: bytes

    def reveal(self) -> bytes:
        """Return the bytes themselves. Only for writing them to their destination."""
        return self._value

    @property
    def sha256(self) -> str:
        """The hexadecimal digest by which two copies are compared."""
        return hashlib.sha256(self._value).hexdigest()

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__
