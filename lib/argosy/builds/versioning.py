"""From an untagged candidate to a version: decided by its content, whoever else has built it before."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from argosy import atomic
from argosy.build_context import BuildContext, write_context
from argosy.config import Settings
from argosy.console import Report
from argosy.content_memo import ContentMemo
from argosy.engine import SYSTEM_LABEL
from argosy.engine_images import (
    CANDIDATE_LABEL,
    CONTENT_LABEL,
    IMAGE_LABEL,
    VERSION_LABEL,
    build,
    export_content,
    remove_candidates,
    stamp,
    stored_images,
    tag,
)
from argosy.errors import ConfigError, RegistryError
from argosy.operations.registry.access import newest_in, opened, repository
from argosy.versions import Version, decide, parse_series


@dataclass(frozen=True, slots=True)
class Built:
    """One image after its build. `reference`: its local name, such as air/frontend:0.1.3; `is_new`: nobody had this
    content as the newest version; `content`: the digest of what it holds."""

    name: str
    version: str
    reference: str
    is_new: bool
    content: str
    seconds: float


Known = dict[str, dict[Version, str]]
"""Image -> version -> digest of content, on this engine and in the registry."""


def state_folder(settings: Settings) -> Path:
    """Return the folder of what builds remember; it is shared by all clusters, as versions are."""
    return settings.root / settings.state_dir / "build"


def read_series(settings: Settings) -> tuple[int, int]:
    """Return major and minor from the VERSION file."""
    path = settings.root / settings.version_file
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: write MAJOR.MINOR into it, such as 0.1", "version_file") from None
    return parse_series(text, str(path))


@contextmanager
def building(settings: Settings, client: docker.DockerClient) -> Iterator[None]:
    """Hold the lock of builds; in the end, also after Ctrl-C, remove candidates that became no version.

    The lock is this host's for the system, not the checkout's: two checkouts share the engine, and the clean-up of one
    would take the other's candidates.
    """
    state_folder(settings).mkdir(parents=True, exist_ok=True)
    with atomic.locked(_host_folder() / f"build-{settings.system}.lock"):
        try:
            yield
        finally:
            remove_candidates(client, settings.system)


def _host_folder() -> Path:
    """Return this user's folder for locks between checkouts: private, so that nobody else can plant a file in it."""
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"argosy-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigError(
            "it belongs to somebody else; remove it, or set XDG_RUNTIME_DIR to a folder of yours", str(folder)
        )
    return folder


def known_versions(client: docker.DockerClient, settings: Settings, pushed: Collection[str], report: Report) -> Known:
    """Return what is known here, and of the images `pushed` also the registry's newest.

    A registry that can't be asked is no reason not to build (ours is itself built first); it is said in one line. If
    a version then clashes with the registry's, `registry.push` refuses it.
    """
    known: Known = {}
    for stored in stored_images(client, settings.system):
        known.setdefault(stored.name, {})[stored.version] = stored.content
    if pushed and settings.registry.address:
        try:
            with opened(settings, attempts=1) as registry:
                newest = newest_in(registry, settings, pushed)
        except (RegistryError, ConfigError) as error:
            report("registry", f"not asked for its versions: {error}")
        else:
            for name, stored in newest.items():
                known.setdefault(name, {})[stored.version] = stored.content
    return known


def build_version(
    client: docker.DockerClient,
    settings: Settings,
    report: Report,
    name: str,
    context: BuildContext,
    *,
    arguments: Mapping[str, str],
    known: Mapping[Version, str],
    memo: ContentMemo,
    labels: Mapping[str, str] | None = None,
    no_cache: bool = False,
) -> Built:
    """Build one image and give it its version. `labels`: beside our own. Raises BuildFailed."""
    started = time.monotonic()
    with write_context(context) as stream:
        candidate = build(
            client,
            name,
            stream,
            labels={CANDIDATE_LABEL: settings.system},
            dockerfile=context.dockerfile,
            arguments=arguments,
            no_cache=no_cache,
            on_step=lambda step: report(name, step),
        )
    content = memo.content(candidate, lambda: export_content(client, candidate, settings.system))
    decision = decide(name, read_series(settings), known, content)
    version = str(decision.version)
    ours = {SYSTEM_LABEL: settings.system, IMAGE_LABEL: name, VERSION_LABEL: version, CONTENT_LABEL: content}
    _tag(client, settings, name, candidate, {**ours, **(labels or {})})
    seconds = time.monotonic() - started
    report(name, f"{'new version' if decision.is_new else 'unchanged:'} {version} ({seconds:.1f} s)")
    return Built(name, version, f"{repository(settings, name)}:{version}", decision.is_new, content, seconds)


def _tag(client: docker.DockerClient, settings: Settings, name: str, candidate: str, labels: Mapping[str, str]) -> None:
    """Label the candidate as its version and tag it.

    With an unchanged content the version's tag moves to the fresh candidate, which holds the same: its layers are what
    the builder's cache goes by, and the old one goes.
    """
    tag(client, stamp(client, name, candidate, labels), repository(settings, name), labels[VERSION_LABEL])
