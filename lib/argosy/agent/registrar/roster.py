"""Pure. The containers of this machine that are instances, as far as is known: which of them may take requests.

Docker tells what was (an inspection takes a moment) and what happens (an event, at once). They are put in order by
their numbers, and a run of a container is known by when it was started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.agent.registrar.messages import Happened, Inspected, Listed
from argosy.agent.registrar.verdicts import FAILURES, LASTING_FAILURES, Kind, Probe, Verdict
from argosy.schema import Problem
from argosy.schema.declared import Declaration, parse_labels, problem_of
from argosy.schema.inspection import Container, ends
from argosy.schema.instances import Place, place_of

ANY_RUN = ""


@dataclass(slots=True)
class Member:
    """A container with the label. `number`: of the last news; `place`: None with `problems`; `registered`, `declared`:
    see `registrations.Wanted`, of this run; `left_revision`: at which it was last taken out of etcd, 0 if never."""

    number: int
    container: Container
    declaration: Declaration | None = None
    place: Place | None = None
    problems: tuple[Problem, ...] = ()
    verdict: Verdict = field(default_factory=Verdict)
    registered: bool = False
    declared: bool = False
    left_revision: int = 0

    @property
    def service(self) -> str:
        return self.declaration.service if self.declaration else ""

    @property
    def run(self) -> str:
        """A name for this run of it."""
        return f"{self.container.id}/{self.container.started}"


class Roster:
    """Not for several threads at once."""

    def __init__(self, address: str, check_seconds: float, left: Mapping[str, str]) -> None:
        """`address`: the machine's own; `check_seconds`: between two checks where no label says it; `left`: by id, the
        run of a container that was taken out on purpose: it stays out until it is started anew."""
        self._address = address
        self._check_seconds = check_seconds
        self._not_before: dict[str, int] = {}
        self._unknown: dict[str, Problem] = {}
        self.left = dict(left)
        self.members: dict[str, Member] = {}
        self.engine = True
        """Whether Docker answers."""

    # News

    def happened(self, told: Happened) -> None:
        """Take in an event: what ends a container counts at once, of what begins the inspection tells more."""
        event, member = told.event, self.members.get(told.event.container)
        if event.action in ("start", "destroy"):
            self.left.pop(event.container, None)
        stop_signal = member.container.stop_signal if member else 0
        if not ends(event, stop_signal):
            return
        self._not_before[event.container] = told.number
        if event.action == "kill":
            self.left[event.container] = member.container.started if member else ANY_RUN
        elif event.action == "pause" and member:
            member.container = replace(member.container, running=False)
        else:
            self.members.pop(event.container, None)

    def inspected(self, told: Inspected) -> None:
        """Take in how a container was, unless something has ended it since."""
        if told.number < self._not_before.get(told.id, 0):
            return
        member = self.members.get(told.id)
        self._unknown.pop(told.id, None)
        if told.reason:
            name = member.container.name if member else told.id[:12]
            self._unknown[told.id] = problem_of(name, "", "", told.reason)
        elif told.container is None:
            self.members.pop(told.id, None)
        elif member is None or member.number < told.number:
            self.members[told.id] = self._member(told.number, told.container, member)

    def lost(self) -> None:
        """Take in that Docker does not answer: nothing is known to have changed."""
        for member in self.members.values():
            if self.engine and member.container.health:
                member.verdict = Verdict(passing=self.passes(member))
        self.engine = False

    def listed(self, told: Listed) -> None:
        """Forget what is not there any more."""
        self.engine = True
        gone = [name for name, member in self.members.items() if name not in told.ids and member.number < told.number]
        for container in gone:
            del self.members[container]
        known = told.ids | self.members.keys()
        self._unknown = {name: problem for name, problem in self._unknown.items() if name in known}
        self._not_before = {name: n for name, n in self._not_before.items() if name in known or n > told.number}
        self.left = {name: run for name, run in self.left.items() if name in known or name in self._not_before}

    def judged(self, run: str, verdict: Verdict) -> None:
        """Take in what checks say about a run."""
        member = self.members.get(run.partition("/")[0])
        if member is not None and member.run == run:
            member.verdict = verdict

    def find(self, name: str) -> Member | None:
        """Return the container of a name or an id."""
        return next(
            (member for member in self.members.values() if name in (member.container.name, member.container.id)), None
        )

    def leave(self, member: Member) -> None:
        """Keep this run of the container out."""
        self.left[member.container.id] = member.container.started

    # What follows

    def is_up(self, member: Member) -> bool:
        """Return whether it may serve as soon as its check passes."""
        out = self.left.get(member.container.id) in (member.container.started, ANY_RUN)
        return member.container.running and member.place is not None and not out

    def passes(self, member: Member) -> bool:
        if member.container.health and self.engine:
            return member.container.health == "healthy"
        return member.verdict.passing or self.probe(member) is None

    def probe(self, member: Member) -> Probe | None:
        """Return how to check it ourselves; None where nothing is to be checked, or Docker does it.

        While Docker is gone, nobody runs its checks: so we see whether the port still takes connections.
        """
        declaration, place = member.declaration, member.place
        if declaration is None or place is None or (member.container.health and self.engine):
            return None
        check = declaration.check
        probe = Probe(Kind.TCP, place.probe, declaration.check_seconds or self._check_seconds)
        if member.container.health:
            return probe
        if declaration.command:
            return replace(probe, kind=Kind.COMMAND, container=member.container.id, command=declaration.command)
        if check.kind == "http":
            return replace(probe, kind=Kind.HTTP, path=check.path, status=check.status, host=declaration.service)
        return probe if check.kind == "tcp" else None

    def problems(self) -> list[Problem]:
        """Return what is wrong with containers, sorted."""
        found = [*self._unknown.values()]
        for member in self.members.values():
            found += member.problems or self._failing(member)
        return sorted(found, key=lambda problem: (problem.service, problem.key, problem.reason))

    def _failing(self, member: Member) -> list[Problem]:
        if not self.is_up(member) or self.passes(member):
            return []
        by_docker = bool(member.container.health) and self.engine
        if by_docker and member.container.health != "unhealthy":
            return []
        if not by_docker and member.verdict.failures < (FAILURES if member.declared else LASTING_FAILURES):
            return []
        reason = "Docker's check says unhealthy" if by_docker else f"its check fails: {member.verdict.reason}"
        return [problem_of(member.container.name, "", member.service, f"not registered: {reason}")]

    def _member(self, number: int, container: Container, before: Member | None) -> Member:
        """Return what an inspection says, and what is known of the same run already."""
        declaration, problems = parse_labels(container.name, container.labels)
        made = Member(number, container, declaration, problems=problems)
        if declaration is not None and container.running:
            try:
                made.place = place_of(container, declaration, self._address)
            except ValueError as error:
                made.problems = (problem_of(container.name, "", declaration.service, str(error)),)
        if before is not None and before.run == made.run:
            made.place = made.place or (before.place if not container.running else None)
            made.verdict, made.left_revision = before.verdict, before.left_revision
            made.registered, made.declared = before.registered, before.declared
        return made
