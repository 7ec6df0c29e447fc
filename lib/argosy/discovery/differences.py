"""Pure. What became of services between two moments: what `discovery.watch` shows, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from argosy.schema import Check, Directory, Instance, Problem, Service
from argosy.text import printable

ATTRIBUTES = ("scheme", "host_port", "private", "sni", "check")


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """One change. `what`: service-added, service-removed, instance-added, instance-removed, endpoint, weight, draining,
    problem, problem-solved, or an attribute of the service; `old`, `new`: its value, empty for none."""

    service: str
    what: str
    instance: str = ""
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        words = [printable(self.service), self.what]
        if self.instance:
            words.append(printable(self.instance))
        if self.old and self.new:
            words.append(f"{printable(self.old)} -> {printable(self.new)}")
        elif self.old or self.new:
            words.append(printable(self.new) or f"{printable(self.old)} -> none")
        return " ".join(words)

    def to_json(self, revision: int) -> dict[str, Any]:
        """Return `{"revision": 7, "service": "web", "what": "weight", "instance": "a", "old": "100", "new": "50"}`."""
        return {"revision": revision, **asdict(self)}


def service_changes(before: Directory, after: Directory, names: Iterable[str] = ()) -> list[ServiceChange]:
    """Return what changed from `before` to `after`: of these services, or of all when none is named."""
    chosen = set(names)
    known = sorted({*before.services, *after.services})
    changes = [change for name in known for change in _changes(before.services.get(name), after.services.get(name))]
    changes += _problems(before.problems, after.problems)
    return [change for change in changes if not chosen or change.service in chosen]


def check_text(check: Check) -> str:
    """Return a check as it is written under /services/NAME/check."""
    return " ".join(filter(None, [check.kind, check.path, ",".join(map(str, check.status))]))


def attributes(service: Service) -> dict[str, str]:
    """Return what is said of a service itself, as text; empty for what is not set."""
    return {
        "scheme": str(service.scheme or ""),
        "host_port": str(service.host_port or ""),
        "private": "true" if service.private else "",
        "sni": " ".join(service.sni),
        "check": check_text(service.check),
    }


def _changes(old: Service | None, new: Service | None) -> Iterator[ServiceChange]:
    if old is new:
        return
    owner = new or old
    assert owner is not None
    if old is None:
        yield ServiceChange(owner.name, "service-added")
    nothing = Service(owner.name, None)
    yield from _attribute_changes(old or nothing, new or nothing)
    yield from _instance_changes(owner.name, _by_id(old), _by_id(new))
    if new is None:
        yield ServiceChange(owner.name, "service-removed")


def _attribute_changes(old: Service, new: Service) -> Iterator[ServiceChange]:
    before, after = attributes(old), attributes(new)
    for what in ATTRIBUTES:
        if before[what] != after[what]:
            yield ServiceChange(new.name, what, old=before[what], new=after[what])


def _instance_changes(
    service: str, before: Mapping[str, Instance], after: Mapping[str, Instance]
) -> Iterator[ServiceChange]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if new is None:
            yield ServiceChange(service, "instance-removed", name, str(before[name].endpoint))
            continue
        if old is None:
            yield ServiceChange(service, "instance-added", name, new=str(new.endpoint))
        elif old.endpoint != new.endpoint:
            yield ServiceChange(service, "endpoint", name, str(old.endpoint), str(new.endpoint))
        known = old or Instance(name, new.endpoint)
        if known.weight != new.weight:
            yield ServiceChange(service, "weight", name, str(known.weight), str(new.weight))
        if known.draining != new.draining:
            yield ServiceChange(service, "draining", name, new="begins" if new.draining else "is over")


def _problems(before: Iterable[Problem], after: Iterable[Problem]) -> Iterator[ServiceChange]:
    old, new = set(before), set(after)
    for problem in sorted(old - new, key=lambda problem: (problem.key, problem.reason)):
        yield ServiceChange(problem.service, "problem-solved", new=str(problem))
    for problem in sorted(new - old, key=lambda problem: (problem.key, problem.reason)):
        yield ServiceChange(problem.service, "problem", new=str(problem))


def _by_id(service: Service | None) -> dict[str, Instance]:
    return {instance.id: instance for instance in service.instances} if service else {}
