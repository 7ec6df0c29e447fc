"""The templates role: every file that the release's resources name is kept up to date.

`Templates` is watch mode, a part of the agent; `render_once` is once mode, `python3 -m argosy.agent templates --once`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from argosy.agent.log import Trouble, log
from argosy.agent.mirror import Batch, Mirror
from argosy.agent.options import Options
from argosy.agent.templates.functions import ResourceTemplate
from argosy.agent.templates.keeping import Keeper, Outcome
from argosy.agent.templates.loading import Loaded, fingerprint, load
from argosy.agent.templates.resources import Problem, Resource
from argosy.etcd.values import Entry

_log = log("templates")

MAX_PARALLEL = 4
"""Files worked on at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `settle`: what a burst is given to end in; `pause`: between two looks at one file, at least; `retry`,
    `longest_retry`: before a failure is tried again, doubled each time; `again`: before a file is looked at though
    nothing changed; `folder`: between two looks at the folder of the resources."""

    settle: float = 0.05
    pause: float = 0.5
    retry: float = 1.0
    longest_retry: float = 60.0
    again: float = 60.0
    folder: float = 2.0

    def wait_after(self, failures: int) -> float:
        """Return how long to leave a file alone after `failures` failures in a row, if nothing changes meanwhile."""
        return min(self.retry * 2.0 ** min(failures - 1, 16), self.longest_retry) if failures else self.again


def facts(options: Options) -> dict[str, str]:
    """Return the variables of every template."""
    return {
        "system": options.system,
        "cluster": options.cluster,
        "machine_name": options.machine,
        "machine_address": options.address,
    }


def from_options(options: Options, mirror: Mirror) -> Templates:
    """Return the agent's templates role, to be started."""
    return Templates(options.templates, mirror, Keeper(options.paths.state), facts(options), options.paths.files)


def render_once(loaded: Loaded, keeper: Keeper, entries: Mapping[str, Entry]) -> dict[str, Outcome]:
    """Make each file what it must be, one after the other. Returns what came of each, by the resource's name."""
    outcomes = {problem.resource: Outcome(reasons=(problem.reason,)) for problem in loaded.problems}
    return outcomes | {
        resource.name: keeper.keep(resource, template, entries) for resource, template in loaded.resources
    }


@dataclass(slots=True)
class _Task:
    """One resource in watch mode. `due`: when to look at it next, `earliest`: not before that whatever changes, by the
    monotonic clock. `changed`: a key did since the last look began. `writes`: how often the file was replaced."""

    resource: Resource
    template: ResourceTemplate
    trouble: Trouble
    due: float
    earliest: float = 0.0
    failures: int = 0
    running: bool = False
    changed: bool = False
    writes: int = 0

    def status(self) -> dict[str, Any]:
        return {
            "resource": self.resource.name,
            "dest": str(self.resource.dest),
            "writes": self.writes,
            "problem": self.trouble.reason,
        }


class Templates:
    """Looks at a file at the start, when a key of its resource changed, after a failure, and now and then.

    One thread decides; each look has a thread of its own, so that a command that hangs keeps no other file waiting.
    """

    def __init__(
        self,
        folder: Path,
        mirror: Mirror,
        keeper: Keeper,
        facts: Mapping[str, str],
        files: PurePosixPath,
        timing: Timing | None = None,
    ) -> None:
        """`folder`, `facts`, `files`: see `load`."""
        self._folder = folder
        self._mirror = mirror
        self._keeper = keeper
        self._facts = facts
        self._files = files
        self._timing = timing or Timing()
        self._batches: deque[Batch] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._fingerprint: object = None
        self._folder_due = 0.0
        self._problems: tuple[Problem, ...] = ()
        self._tasks: dict[str, _Task] = {}
        self._thread = threading.Thread(target=self._run, name="templates", daemon=True)

    def start(self) -> None:
        self._mirror.subscribe(self._on_batch)
        self._thread.start()

    def stop(self) -> None:
        """Begin no more work. What runs ends in its own time, or with the process: a reload is not lost by that."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def problems(self) -> tuple[Problem, ...]:
        """Return what is not as it should be, now."""
        with self._wake:
            tasks = [
                Problem(task.resource.name, task.trouble.reason) for task in self._tasks.values() if task.trouble.reason
            ]
            return (*self._problems, *tasks)

    def status(self) -> dict[str, Any]:
        """Return {"files": [{"resource", "dest", "writes", "problem"}], "problems": [{"resource", "reason"}]}."""
        with self._wake:
            problems = [asdict(problem) for problem in self.problems()]
            return {"files": [task.status() for task in self._tasks.values()], "problems": problems}

    def _on_batch(self, batch: Batch) -> None:
        with self._wake:
            self._batches.append(batch)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            if now >= self._folder_due:
                self._look_at_folder(now)
                self._folder_due = now + self._timing.folder
            with self._wake:
                if self._stopping:
                    return
                self._note_changes(now)
                self._begin_due(now)
                if not self._batches:
                    self._wake.wait(max(0.0, self._next_due() - time.monotonic()))

    # The folder of the resources

    def _look_at_folder(self, now: float) -> None:
        found = fingerprint(self._folder)
        if found == self._fingerprint:
            return
        self._fingerprint = found
        loaded = load(self._folder, self._files, self._facts)
        for problem in loaded.problems:
            _log.warning("%s", problem.reason)
        try:
            self._keeper.pending.repair({str(resource.dest) for resource, _ in loaded.resources})
        except OSError as error:
            _log.warning("which reloads are due can't be read: %s", error)
        tasks = {
            resource.name: _Task(resource, template, _trouble(resource), now) for resource, template in loaded.resources
        }
        with self._wake:
            self._problems, self._tasks = loaded.problems, tasks

    # Deciding what is due (with the lock held)

    def _note_changes(self, now: float) -> None:
        batches = [self._batches.popleft() for _ in range(len(self._batches))]
        full = any(batch.full for batch in batches)
        changed = frozenset[str]().union(*(batch.changed for batch in batches))
        for task in self._tasks.values():
            if full or any(map(task.resource.concerns, changed)):
                task.changed = True
                task.due = min(task.due, max(now + self._timing.settle, task.earliest))

    def _begin_due(self, now: float) -> None:
        free = self._free()
        for task in sorted(self._tasks.values(), key=lambda task: task.due):
            if free > 0 and task.due <= now and not task.running:
                free -= 1
                task.running, task.changed = True, False
                threading.Thread(target=self._keep, args=(task,), name="template", daemon=True).start()

    def _next_due(self) -> float:
        waiting = [task.due for task in self._tasks.values() if not task.running] if self._free() > 0 else []
        return min([self._folder_due, *waiting])

    def _free(self) -> int:
        return MAX_PARALLEL - sum(task.running for task in self._tasks.values())

    # Doing it (in a thread of its own)

    def _keep(self, task: _Task) -> None:
        try:
            # Without a single list of the keys there is nothing to render from; with one, it stays good in an outage.
            revision, entries = self._mirror.snapshot()
            outcome = self._keeper.keep(task.resource, task.template, entries if revision else None)
        except Exception as error:  # noqa: BLE001 (reported; the other files, and a later look, continue)
            outcome = Outcome(reasons=(f"{task.resource.name}: unexpected {type(error).__name__}: {error}",))
        task.trouble.set(outcome.reason)
        with self._wake:
            now = time.monotonic()
            task.running = False
            task.writes += outcome.changed
            task.failures = task.failures + 1 if outcome.reasons else 0
            task.earliest = now + self._timing.pause
            task.due = task.earliest if task.changed else now + self._timing.wait_after(task.failures)
            self._wake.notify()


def _trouble(resource: Resource) -> Trouble:
    return Trouble(_log, f"{resource.dest} is as it should be again")
