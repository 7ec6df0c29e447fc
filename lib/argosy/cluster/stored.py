"""Pure. Values as JSON: a frozen dataclass whose fields are the keys, read and written by pydantic.

A field may be `Annotated` with the key that it has, where that is another, and with how its value is written. Keys
that are not known are ignored: a newer release may have added them.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError

from argosy.stamps import parse_stamp, stamp

Moment = Annotated[datetime, BeforeValidator(lambda text: parse_stamp(str(text))), PlainSerializer(stamp)]
"""Written as 2026-01-31T12:00:05.120Z."""


class JsonValue:
    """What dataclasses that are told as JSON have in common."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = self._adapter().dump_python(self, mode="json", by_alias=True)
        return found

    @classmethod
    @cache
    def _adapter(cls) -> TypeAdapter[Any]:
        return TypeAdapter(cls)


class StoredRecord(JsonValue):
    """What dataclasses that are stored have in common. `WHAT`: what they are the record of."""

    __slots__ = ()
    WHAT: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the record of a value in etcd. Raises ValueError, on one line, for one that is none."""
        try:
            record: Self = cls._adapter().validate_json(text)
        except ValidationError as error:
            raise ValueError(f"not the record of {cls.WHAT}: {_first_problem(error)}") from None
        return record

    def text(self) -> str:
        """Return the record as it is stored: JSON on one line."""
        return json.dumps(self.to_json(), separators=(",", ":"))


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "missing":
        return f"it lacks {first['loc'][-1]!r}"
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
