"""Pure. What a machine says of itself, `SYSTEM status --json` run on it:

{"machine": "air-01", "address": "10.0.0.1", "release": "0.1.3", "state": "waiting|installing|failed|active",
 "missing_secrets": ["token"],
 "services": [{"name": "backend", "unit": "active", "check": "passing|failing|none", "reason": "",
               "version": "0.1.2", "digest": "sha256:...", "since": "2026-01-01T12:00:00Z"}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

T = TypeVar("T", bound=BaseModel)


class ServiceStatus(BaseModel):
    """A service on one machine. `unit`: systemd's word for it; `since`: when its container started."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    unit: str = ""
    check: Literal["passing", "failing", "none"] = "none"
    reason: str = ""
    version: str = ""
    digest: str = ""
    since: str = ""

    @property
    def problem(self) -> str:
        """Why it is not as it should be, or an empty string."""
        if self.unit != "active":
            return f"its unit is {self.unit or 'not there'}" + (f": {self.reason}" if self.reason else "")
        if self.check == "failing":
            return f"its check fails: {self.reason}"
        return self.reason


class MachineReport(BaseModel):
    """What a machine says of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["waiting", "installing", "failed", "active"]
    missing_secrets: Sequence[str] = ()
    release: str = ""
    services: Sequence[ServiceStatus] = ()


@dataclass(frozen=True, slots=True)
class MachineAnswer:
    """What came of asking one machine: its report, or why there is none (`reached`: it let us in)."""

    report: MachineReport | None = None
    reason: str = ""
    reached: bool = False


def parse_report(text: str) -> MachineReport:
    """Read what a machine says of itself, its last line. Raises ValueError as `parse` does."""
    return parse(MachineReport, text.strip().rpartition("\n")[2])


def parse(model: type[T], text: str) -> T:
    """Read a JSON object as `model`. Raises ValueError with one line that says what is wrong with it."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from None
