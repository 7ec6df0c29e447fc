"""A machine's folders of templates and files, below one of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from argosy.agent.mirror import Mirror
from argosy.agent.templates.keeping import Keeper, Outcome
from argosy.agent.templates.loading import load
from argosy.agent.templates.watching import Templates, Timing, render_once
from argosy.etcd import Entry

QUICK = Timing(settle=0.02, pause=0.05, retry=0.05, longest_retry=0.2, again=60, folder=0.1)


class Site:
    """A machine's folders below one of the test's own, as the agent of the system `air` sees them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / "var/lib/air/files"
        self.folder = root / "var/lib/air/templates"
        self.state = root / "var/lib/agent"
        self.state.mkdir(parents=True)

    def resource(self, name: str, template: str, *lines: str, keys: str = "/settings", dest: str = "") -> Path:
        """Write a resource and its template; return the path of the file that it makes."""
        for part in ("conf.d", "templates"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        dest = dest or f"{name}/{name}.conf"
        body = ["[template]", f'src = "{name}.j2"', f'dest = "{dest}"', f'keys = ["{keys}"]', *lines]
        (self.folder / f"templates/{name}.j2").write_text(template)
        (self.folder / f"conf.d/{name}.toml").write_text("\n".join(body) + "\n")
        return self.files / dest

    def keep(self, keeper: Keeper | None = None, **values: str) -> dict[str, Outcome]:
        """Do what once mode does, with these keys below /settings/; return the outcomes by the resource's bare name."""
        entries = {f"/settings/{name}": Entry(f"/settings/{name}", value, 1, 1) for name, value in values.items()}
        found = load(self.folder, PurePosixPath(self.files), {"system": "air"})
        outcomes = render_once(found, keeper or Keeper(self.state), entries)
        return {Path(name).stem: outcome for name, outcome in outcomes.items()}

    @contextmanager
    def watching(self, mirror: Mirror, keeper: Keeper | None = None, timing: Timing = QUICK) -> Iterator[Templates]:
        facts = {"system": "air"}
        files = PurePosixPath(self.files)
        templates = Templates(self.folder, mirror, keeper or Keeper(self.state), facts, files, timing)
        templates.start()
        try:
            yield templates
        finally:
            templates.stop()

    @property
    def pending(self) -> list[str]:
        path = self.state / "templates.json"
        return list(json.loads(path.read_text())["pending"]) if path.exists() else []


def holds(path: Path, text: str) -> Callable[[], bool]:
    return lambda: path.is_file() and path.read_text() == text


def only_file(path: Path) -> bool:
    """Return whether nothing lies beside the file: no leftover."""
    return [it.name for it in path.parent.iterdir()] == [path.name]
