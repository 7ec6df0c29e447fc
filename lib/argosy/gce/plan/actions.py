"""Pure. The steps of a plan: what is to be made, changed, destroyed, and what stays.

An action names the very request that carries it out, so what `--dry-run` and `gce.plan` show is what is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from argosy.gce.plan.names import WORDS, Document
from argosy.model import Step

INSERT, DELETE = "insert", "delete"


class Verb(StrEnum):
    """`DIFFERS`: config and project disagree in what can't be changed on a resource that lives."""

    CREATE = "create"
    CHANGE = "change"
    DESTROY = "destroy"
    KEEP = "keep"
    DIFFERS = "differs"


ACTING = (Verb.CREATE, Verb.CHANGE, Verb.DESTROY)


@dataclass(frozen=True, slots=True)
class Action:
    """`kind`, `method`, `body`: the request, such as instances.setLabels. `server`: which one it is for; empty for what
    the cluster has once. `why`: for people."""

    verb: Verb
    kind: str
    name: str
    why: str = ""
    method: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    server: str = ""

    @property
    def acts(self) -> bool:
        return self.verb in ACTING

    def step(self) -> Step:
        """Return how a plan shows it."""
        word = WORDS[self.kind]
        what = word if self.name == self.server else f"{word} {self.name}"
        return Step(self.server or "balancer", f"{self.verb} {what}" + (f": {self.why}" if self.why else ""))

    def to_json(self) -> dict[str, str]:
        """Return {"verb", "kind", "name", "server", "why"}."""
        return {"verb": self.verb, "kind": self.kind, "name": self.name, "server": self.server, "why": self.why}


@dataclass(frozen=True, slots=True)
class Project:
    """What was observed: kind -> name -> document; and the instances (names) in each group."""

    resources: Mapping[str, Mapping[str, Document]]
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def all(self, kind: str) -> Mapping[str, Document]:
        return self.resources.get(kind, {})

    def get(self, kind: str, name: str) -> Document | None:
        return self.all(kind).get(name)


def create(kind: str, body: Mapping[str, Any], why: str = "", server: str = "") -> Action:
    return Action(Verb.CREATE, kind, str(body["name"]), why, INSERT, body, server)


def destroy(kind: str, name: str, why: str = "", server: str = "") -> Action:
    return Action(Verb.DESTROY, kind, name, why, DELETE, {}, server)


def agrees(wanted: Any, found: Any) -> bool:
    """Return whether what the API shows is what was asked for: it adds fields, writes 64-bit numbers as strings, and
    makes full URLs of partial ones."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(agrees(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        same_length = isinstance(found, (list, tuple)) and len(wanted) == len(found)
        return same_length and all(agrees(*pair) for pair in zip(wanted, found, strict=True))
    if isinstance(wanted, bool) or found is None:
        return bool(wanted == (found or False))
    left, right = str(wanted), str(found)
    return left == right or ("/" in left and right.endswith(f"/{left}"))
