"""What of this machine's containers must be in etcd now, put together from all that is known.

The roster knows the containers, the holdings etcd, the forwards the ways to those behind the bridge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from argosy.agent.registrar.forwards import Forwards
from argosy.agent.registrar.registered import Holdings
from argosy.agent.registrar.roster import Member, Roster
from argosy.agent.registrar.verdicts import Verdict
from argosy.etcd.values import Put
from argosy.model import Endpoint
from argosy.schema import Problem, instance_key
from argosy.schema.declared import problem_of
from argosy.schema.instances import Registration, Wanted, Write, instance_id, weight_of

APPLY_SECONDS = 10.0
"""A router that does not listen on a forward for so long is a problem to tell of."""
NO_FORWARD = "not registered: no port of this machine leads to it (all are taken, or the router has not applied it)"


@dataclass(slots=True)
class Instances:
    """`address`: the machine's own. Not for several threads at once."""

    machine: str
    address: str
    roster: Roster
    holdings: Holdings
    forwards: Forwards
    _waiting: dict[str, float] = field(default_factory=dict)

    def adopt(self) -> None:
        """Believe that what an agent before us has registered is healthy, until a check says otherwise."""
        self.ensure_forwards()
        for member in self.roster.members.values():
            registration = self._registration(member)
            found = self.holdings.present.get(registration.key) if registration else None
            if registration and found and found.value == str(registration.endpoint):
                member.registered, member.declared = True, not registration.weighed
                member.verdict = Verdict(passing=True)

    def ensure_forwards(self) -> None:
        """Ask for a way to each container behind the bridge while its checks still run."""
        for member in self._behind_bridge():
            if member.place is not None and self.roster.is_up(member):
                self.forwards.ensure(member.container.name, member.place.probe)

    def release_forwards(self) -> None:
        """Drop the ways to containers that have ended; after their keys, or somebody would meet a closed port."""
        self.forwards.keep({member.container.name for member in self._behind_bridge()})

    def wanted(self) -> dict[str, Wanted]:
        """Return what must be in etcd, by the container's id; those started last come last."""
        found = {}
        for member in sorted(self.roster.members.values(), key=lambda member: member.container.started):
            if not self._may_serve(member):
                continue
            registration = self._registration(member)
            if registration is not None and self.roster.passes(member):
                found[member.container.id] = Wanted(registration, member.registered, member.declared)
        return found

    def settled(self, wanted: Mapping[str, Wanted], leased: bool, late: Collection[str] = ()) -> None:
        """Note that etcd holds exactly what was wanted; `leased`: nothing could be put without; `late`: services
        whose generations' weights are others by now than we have seen, so that what we wanted of them was not put."""
        for container, member in self.roster.members.items():
            found = wanted.get(container)
            if found is not None and found.registration.generation and member.service in late:
                continue
            member.registered = found is not None and leased
            member.declared = member.declared or member.registered
            if found is not None and found.registration.weighed:
                member.declared = False

    def lease_lost(self) -> None:
        """Note that all registrations are gone and that nobody meant it."""
        for member in self.roster.members.values():
            member.registered = False

    def wrote(self, writes: Iterable[Write], revision: int) -> list[str]:
        """Take in what was written, and return what is to be said of it."""
        writes = list(writes)
        self.holdings.wrote(writes, revision)
        members = {self._key(member): member for member in self.roster.members.values()}
        lines = []
        for write in writes:
            member = members.get(write.key)
            if "/hosts/" not in write.key:
                continue
            if isinstance(write, Put):
                lines.append(f"{write.key} is registered at {write.value}")
                continue
            if member is not None:
                member.left_revision = revision
            lines.append(f"{write.key} is deregistered: {self._why_not(member)}")
        return lines

    def problems(self, now: float) -> list[Problem]:
        """Return what is wrong with containers, sorted. `now`: a steady clock, in seconds."""
        passing = [
            member for member in self._behind_bridge() if self.roster.is_up(member) and self.roster.passes(member)
        ]
        waiting = {member.run: member for member in passing if self._endpoint(member) is None}
        self._waiting = {run: self._waiting.get(run, now) for run in waiting}
        late = [member for run, member in waiting.items() if now - self._waiting[run] > APPLY_SECONDS]
        return [
            *self.roster.problems(),
            *(problem_of(member.container.name, "", member.service, NO_FORWARD) for member in late),
        ]

    def states(self) -> list[dict[str, str]]:
        """Return each container and what keeps it from being registered, for people."""
        return [
            self._state(member)
            for member in sorted(self.roster.members.values(), key=lambda member: member.container.name)
        ]

    def _state(self, member: Member) -> dict[str, str]:
        endpoint = self._endpoint(member)
        return {
            "container": member.container.name,
            "service": member.service,
            "endpoint": str(endpoint) if endpoint else "",
            "state": "registered" if member.registered else self._why_not(member),
        }

    def _may_serve(self, member: Member) -> bool:
        return self.holdings.active or member.service in self.holdings.staying

    def _why_not(self, member: Member | None) -> str:
        if member is None:
            return "its container has ended, or has another name"
        if not self._may_serve(member):
            return "this machine drains or is down"
        if member.problems:
            return str(member.problems[0].reason)
        if not self.roster.is_up(member):
            return "its container is paused, was told to end, or was taken out"
        if not self.roster.passes(member):
            return f"its check: {member.container.health or member.verdict.reason or 'not done yet'}"
        return "about to be registered" if self._endpoint(member) else NO_FORWARD

    def _behind_bridge(self) -> list[Member]:
        return [
            member
            for member in self.roster.members.values()
            if member.place is not None and member.place.endpoint is None
        ]

    def _endpoint(self, member: Member) -> Endpoint | None:
        """Return where all machines reach a container now, None while they can't or must not."""
        if member.place is None or not self.roster.is_up(member):
            return None
        if member.place.endpoint is not None:
            return member.place.endpoint
        port = self.forwards.applied_port(member.container.name, member.place.probe)
        return Endpoint(self.address, port) if port else None

    def _registration(self, member: Member) -> Registration | None:
        endpoint, declared = self._endpoint(member), member.declaration
        if endpoint is None or declared is None:
            return None
        own = self.holdings.generation(declared.service, declared.generation) if declared.generation else None
        return Registration(
            declared.service,
            instance_id(self.machine, member.container.name),
            endpoint,
            weight=weight_of(declared.weight, own),
            attributes=declared.attributes,
            generation=declared.generation,
            weighed=own.mod_revision if own else 0,
        )

    def _key(self, member: Member) -> str:
        return instance_key(member.service, instance_id(self.machine, member.container.name))
