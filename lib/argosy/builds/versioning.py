"""From an untagged candidate to a version: decided by its content, whoever else has built it before."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO

import docker

from argosy import atomic
from argosy.builds.requests import image_settings, secret_files, suite_argument
from argosy.config.loading import ImageSettings, Settings
from argosy.engine.names import SYSTEM_LABEL
from argosy.errors import ConfigError, EngineError, RegistryError
from argosy.etcd.versions import parse_etcd_version
from argosy.images.builders import Builder
from argosy.images.buildkit import BuildRequest
from argosy.images.content import content_of_platforms
from argosy.images.context import BuildContext, context_digest, write_context
from argosy.images.inputs import inputs_digest, parse_bases
from argosy.images.memo import ContentMemo
from argosy.images.repositories import cache_of, on_engine
from argosy.images.store import (
    CANDIDATE_LABEL,
    CONTENT_LABEL,
    ETCD_LABEL,
    IMAGE_LABEL,
    INPUTS_LABEL,
    VERSION_LABEL,
    base_digest,
    log_in,
    machine_kind,
    pull,
    read_content,
    read_output,
    remove_candidates,
    stamp,
    stored_images,
    tag,
    untag,
)
from argosy.images.versions import Stored, Version, counted, decide, of_cluster, parse_series, unchanged
from argosy.registry import access
from argosy.registry.trust import trust_registry
from argosy.report import Report


@dataclass(frozen=True, slots=True)
class Built:
    """One image after its build. `reference`: its local name, such as air/frontend:0.1.3; `is_new`: nobody had this
    content as the newest version; `content`: the digest of what it holds; `inputs`: of what it was made of, empty when
    that is not known. An image that the registry has with the same inputs need not be on this engine."""

    name: str
    version: str
    reference: str
    is_new: bool
    content: str
    seconds: float
    inputs: str = ""

    @property
    def identity(self) -> str:
        """What stands for it in the inputs of an image that needs it."""
        return self.inputs or self.content


@dataclass(frozen=True)
class Known:
    """The images that versions are counted from: `here`, on this engine, and `there`, the registry's newest. `present`:
    the names of those whose newest version has come to this engine since."""

    cluster: str
    here: list[Stored]
    there: list[Stored] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _contents(self) -> dict[str, dict[Version, str]]:
        return counted([*self.here, *self.there], self.cluster)

    def contents(self, name: str) -> dict[Version, str]:
        """Return version -> digest of content."""
        return self._contents.get(name, {})

    def unchanged(self, name: str, series: tuple[int, int], inputs: str) -> Stored | None:
        """Return the newest version of an image if it was made of these inputs; that of this engine, if it is here."""
        stored = [item for item in of_cluster([*self.here, *self.there], self.cluster) if item.name == name]
        return unchanged(series, self.contents(name), [item for item in stored if not item.foreign], inputs)

    def to_fetch(self, name: str, version: str) -> Stored | None:
        """Return where the registry has a version that this engine lacks; nothing for one that was just built."""
        found = next((item for item in self.there if (item.name, str(item.version)) == (name, version)), None)
        if found is None or name in self.present:
            return None
        mine = [(item.version, item.content) for item in self.here if item.name == name]
        return None if (found.version, found.content) in mine else found


@dataclass(frozen=True, slots=True)
class Need:
    """An image of ours that another is built on. `reference`: its local name; `identity`: what stands for it in the
    other's inputs."""

    name: str
    version: str
    reference: str
    identity: str


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
    """Return this user's folder for locks between checkouts: private, so that nobody else can plant a file in it.

    Not in XDG_RUNTIME_DIR, which root has after a login and not under sudo.
    """
    folder = Path(tempfile.gettempdir()) / f"argosy-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise ConfigError("it belongs to somebody else; remove it, or set TMPDIR to a folder of yours", str(folder))
    return folder


def known_versions(client: docker.DockerClient, settings: Settings, pushed: Collection[str], report: Report) -> Known:
    """Return what is known here, and of the images `pushed` also the registry's newest.

    A registry that can't be asked is no reason not to build (ours is itself built first); it is said in one line. If
    a version then clashes with the registry's, `registry.push` refuses it.
    """
    here, there = stored_images(client, settings.system), []
    if pushed and settings.registry.address:
        try:
            with access.opened(settings, attempts=1) as registry:
                there = access.counted_in(registry, settings, pushed)
        except (RegistryError, ConfigError) as error:
            report("registry", f"not asked for its versions: {error}")
    return Known(settings.cluster, here, there)


def build_version(
    client: docker.DockerClient,
    settings: Settings,
    report: Report,
    name: str,
    context: BuildContext,
    *,
    builder: Builder,
    needs: Mapping[str, Need],
    known: Known,
    memo: ContentMemo,
    labels: Mapping[str, str] | None = None,
    no_cache: bool = False,
    fetch: Collection[str] = (),
) -> Built:
    """Build one image and give it its version, unless its newest version was made of the same inputs.

    `builder`: one that can build it; `needs`: by build argument; `labels`: beside our own; `fetch`: the images that
    must be on this engine in the end, wherever they were built. Raises BuildFailed.
    """
    started, repository, image = time.monotonic(), on_engine(settings, name), image_settings(settings, name)
    log_in(client, builder.logins)
    with write_context(context) as stream:
        suite = suite_argument(settings, _dockerfile(context))
        inputs = _inputs(client, context, stream, needs, suite, image, labels or {})
        found = None if no_cache else known.unchanged(name, read_series(settings), inputs)
        if found is not None:
            if name in fetch:
                _fetch(client, settings, report, known, name, str(found.version))
            seconds = time.monotonic() - started
            report(name, f"unchanged: {found.version}, made of the same ({seconds:.1f} s)")
            reference = f"{repository}:{found.version}"
            return Built(name, str(found.version), reference, False, found.content, seconds, inputs)
        for need in needs.values():
            _fetch(client, settings, report, known, need.name, need.version)
        with secret_files(settings, name, image) as secrets:
            request = BuildRequest(
                dockerfile=context.dockerfile,
                labels={CANDIDATE_LABEL: settings.system},
                arguments={argument: need.reference for argument, need in needs.items()} | suite | image.args,
                secrets=secrets,
                no_cache=no_cache,
            )

            def run(asked: BuildRequest) -> str:
                return builder.build(client, name, stream, asked, lambda step: report(name, step))

            candidates = {
                kind: run(
                    replace(request, platform=kind, cache=cache_of(settings, name, kind) if builder.caches else "")
                )
                for kind in image.platforms or [""]
            }
            found_here = {
                kind: read_content(client, candidate, settings.system, memo, kind)
                for kind, candidate in candidates.items()
            }
            content = content_of_platforms(found_here)
            contents = known.contents(name)
            decided = decide(name, read_series(settings), contents, content)
            version, is_new = str(decided), decided not in contents
            ours = {SYSTEM_LABEL: settings.system, IMAGE_LABEL: name, VERSION_LABEL: version, CONTENT_LABEL: content}
            stamped = {**ours, INPUTS_LABEL: inputs, **(labels or {})}
            if name == settings.etcd.image:
                stamped[ETCD_LABEL] = _etcd_version(client, next(iter(candidates.values())), settings, report)
            if len(candidates) > 1:  # BuildKit has each in its cache, and makes one image of all
                made = run(replace(request, platform=",".join(candidates), labels=stamped, no_cache=False))
            else:
                [(kind, candidate)] = candidates.items()
                made = stamp(client, name, candidate, stamped, kind)
    # An unchanged version's tag moves to the fresh image, which holds the same: its layers are what the builder's cache
    # goes by, and the old one goes.
    tag(client, made, repository, version)
    known.present.add(name)
    seconds = time.monotonic() - started
    report(name, f"{'new version' if is_new else 'unchanged:'} {version} ({seconds:.1f} s)")
    return Built(name, version, f"{repository}:{version}", is_new, content, seconds, inputs)


def _etcd_version(client: docker.DockerClient, candidate: str, settings: Settings, report: Report) -> str:
    """Return the version of the etcd in an image, as it tells itself; empty, and told, when it does not."""
    try:
        output = read_output(client, candidate, settings.system, "etcd", "--version")
        version, reason = parse_etcd_version(output), "`etcd --version` prints none"
    except EngineError as error:
        version, reason = None, str(error)
    if version is None:
        report(settings.etcd.image, f"which version of etcd it holds is not known: {reason}")
    return str(version or "")


def _dockerfile(context: BuildContext) -> str:
    return (context.folder / context.dockerfile).read_text(errors="replace")


def _inputs(
    client: docker.DockerClient,
    context: BuildContext,
    stream: IO[bytes],
    needs: Mapping[str, Need],
    suite: Mapping[str, str],
    image: ImageSettings,
    labels: Mapping[str, str],
) -> str:
    """Return the digest of what an image is made of; empty when it can't be known."""
    references = {argument: need.reference for argument, need in needs.items()}
    bases = parse_bases(_dockerfile(context), references, {**suite, **image.args})
    if not bases.known:
        return ""
    platforms = [platform.removeprefix("linux/") for platform in image.platforms]
    return inputs_digest(
        context_digest(stream),
        context.dockerfile,
        packages=context.packages,
        needs={argument: need.identity for argument, need in needs.items()} | dict(suite),
        bases={reference: base_digest(client, reference) for reference in bases.external},
        labels=labels,
        machine=",".join(sorted(platforms)) or machine_kind(client),
        arguments=image.args,
    )


def _fetch(
    client: docker.DockerClient, settings: Settings, report: Report, known: Known, name: str, version: str
) -> None:
    """Bring a version that the registry has to this engine, unless it is here. Raises RegistryError, EngineError."""
    with known.lock:
        wanted = known.to_fetch(name, version)
        if wanted is None:
            return
        trust_registry(settings, report)
        where = f"{settings.registry.address}/{access.as_image(settings, wanted).repository}"
        credentials = access.own_login(settings).for_engine()
        try:
            image = pull(client, where, wanted.digest, credentials)
            tag(client, image, on_engine(settings, name), version)
        finally:
            untag(client, f"{where}@{wanted.digest}")
        known.present.add(name)
    report(name, f"pulled {version}")
