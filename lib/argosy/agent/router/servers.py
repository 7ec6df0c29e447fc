"""The servers of a running HAProxy, changed through its runtime API and looked at afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from argosy.agent.log import log
from argosy.agent.router.haproxy import Haproxy
from argosy.routing.changes import ActualServer, Change, parse_servers_state, plan_changes
from argosy.routing.values import Backend, Routing

_log = log("router")

FEW = 20
"""So many backends are asked about one by one; for more of them, all are."""
ATTEMPTS = 3
NAMED = 3


class Servers:
    """Knows which backends HAProxy has as they were wanted last, so that a change costs only its own.

    Used by the router's thread alone. The methods that ask HAProxy raise OSError when it does not answer, and
    ValueError when it answers with something else than servers; then nothing is taken for known any more.
    """

    def __init__(self, haproxy: Haproxy) -> None:
        self._haproxy = haproxy
        self._known: dict[str, Backend] = {}
        self.changes = 0
        """How many changes were made, since the agent was started."""

    def loaded(self, routing: Routing) -> None:
        """Note that HAProxy has just loaded this plan from its files."""
        self._known = dict(routing.backends)

    def sync(self, wanted: Routing, *, everything: bool) -> bool:
        """Make the servers those of a plan whose structure HAProxy has loaded; return whether they are.

        `everything`: look at all of them, whatever is known; that also deletes those whose last connection has ended.
        """
        names = {name for name, backend in wanted.backends.items() if self._known.get(name) is not backend}
        if everything:
            names = set(wanted.backends)
        known, self._known = self._known, {}
        settled = not names or self._sync(wanted, names)
        if settled:
            self._known = known | {name: wanted.backends[name] for name in names}
        return settled

    def sync_common(self, wanted: Routing) -> None:
        """Change the servers of those backends that HAProxy has already, while `wanted` waits to be loaded."""
        known, self._known = self._known, {}
        common = {
            name: backend
            for name, backend in wanted.backends.items()
            if name in known and known[name] is not backend and _alike(known[name], backend)
        }
        if not common or self._sync(wanted, common.keys()):
            self._known = known | common

    def _sync(self, wanted: Routing, names: Collection[str]) -> bool:
        wanted = replace(wanted, backends={name: wanted.backends[name] for name in names})
        done: list[Change] = []
        pending = plan_changes(self._actual(names), wanted)
        for _ in range(ATTEMPTS):
            if not pending:
                break
            self._haproxy.run([command for change in pending for command in change.commands])
            done += [change for change in pending if change.settles]
            pending = plan_changes(self._actual(names), wanted)
            if not any(change.settles for change in pending):
                break
        self.changes += len(done)
        if done:
            _log.info("%s", _words(done))
        wrong = [change for change in pending if change.settles]
        if wrong:
            _log.warning("HAProxy did not take at runtime: %s", _words(wrong))
        return not wrong

    def _actual(self, names: Collection[str]) -> Mapping[str, Mapping[str, ActualServer]]:
        if len(names) > FEW:
            return parse_servers_state(self._haproxy.ask("show servers state"))
        found: dict[str, Mapping[str, ActualServer]] = {}
        for name in names:
            found |= parse_servers_state(self._haproxy.ask(f"show servers state {name}"))
        return found


def _alike(one: Backend, other: Backend) -> bool:
    return (one.mode, one.cuts) == (other.mode, other.cuts)


def _words(changes: Sequence[Change]) -> str:
    more = f" and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
    return "; ".join(str(change) for change in changes[:NAMED]) + more
