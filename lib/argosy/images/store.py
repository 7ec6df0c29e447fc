"""Images on the Docker engine: built, given a version, told apart by content, pushed, removed.

A build, by BuildKit or here by the engine's classic builder (its API is in 20.10 and in every later engine), yields a
*candidate* without a tag; `stamp` makes the version's image of it, which carries what it is in its labels:

    argosy.candidate               on a candidate, the system, so that one left behind is found; on a version, nothing.
                                   An untagged stage of a build has its base's labels, so it never passes for one.
    argosy.system, argosy.image    whose it is
    argosy.version                 0.1.3
    argosy.content                 sha256:..., see argosy.images.content
    argosy.inputs                  sha256:..., see argosy.images.inputs; none on one of before that, or if not known
    argosy.cluster                 on the installer: the cluster whose release it is; none on one of before that
    argosy.release                 on the installer: {"frontend": {"version": "0.1.3", "digest": "sha256:..."}, ...}
    argosy.promoted                on a release that was promoted: of which cluster's, such as `staging 0.1.7`
    argosy.etcd                    on etcd's image: the version of the etcd in it, as it tells itself; none if it can't
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from io import BytesIO
from typing import IO, Any

import docker
import requests
from docker.errors import APIError, ImageNotFound
from docker.utils.build import mkbuildcontext

from argosy.engine.connection import connect, one_line, refusals
from argosy.engine.containers import remove_labelled
from argosy.engine.names import CLUSTER_LABEL, ROLE_LABEL, SYSTEM_LABEL
from argosy.errors import BuildFailed, EngineError, Interrupted, RegistryError
from argosy.images.content import content_digest, memo_key
from argosy.images.log import BuildLog, failure_line
from argosy.images.memo import ContentMemo
from argosy.images.repositories import parse_repository
from argosy.images.repositories import repository as repository_of
from argosy.images.stream import LayersProgress, failure
from argosy.images.versions import INSTALLER, PinnedService, Stored, Version, parse_version
from argosy.model import Image

IMAGE_LABEL = "argosy.image"
CANDIDATE_LABEL = "argosy.candidate"
VERSION_LABEL = "argosy.version"
CONTENT_LABEL = "argosy.content"
INPUTS_LABEL = "argosy.inputs"
RELEASE_LABEL = "argosy.release"
PROMOTED_LABEL = "argosy.promoted"
PINNED_LABEL = "argosy.pinned"
ETCD_LABEL = "argosy.etcd"
EXPORT_ROLE = "export"
RUN_SECONDS = 60
"""How long a program of an image may take to tell its version."""

_SPECIAL = re.compile(r'[\\"$]')
_ESCAPED = r"\\\g<0>"


def log_in(client: docker.DockerClient, logins: Mapping[str, tuple[str, str]]) -> None:
    """Let this client get external images that need a login, beside what this user's `docker login` is for. In memory.

    `logins`: user and password by Docker's names of registries.
    """
    for registry, (user, password) in logins.items():
        login = {"username": user, "password": password, "serveraddress": registry}
        client.api._auth_configs.add_auth(registry, login)  # type: ignore[attr-defined]


class Streams:
    """Clients whose streams another thread can end: on Ctrl-C, the engine stops a build when its stream closes."""

    def __init__(self) -> None:
        self._responses: list[requests.Response] = []
        self._lock = threading.Lock()
        self.ended = False

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """Yield a client of its own, for one thread. Raises Interrupted when its stream was ended from outside."""
        with connect() as client:
            client.api.hooks["response"].append(self._remember)
            try:
                yield client
            except Exception:
                if self.ended:
                    raise Interrupted("interrupted") from None
                raise

    def end(self) -> None:
        """End every open stream, and every later one as it opens."""
        with self._lock:
            self.ended = True
            responses, self._responses = self._responses, []
        for response in responses:
            _shut(response)

    def _remember(self, response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
        with self._lock:
            if not self.ended:
                self._responses = [known for known in self._responses if not known.raw.closed]
                self._responses.append(response)
                return
        _shut(response)


def _shut(response: requests.Response) -> None:
    try:
        response.raw.shutdown()
    except (AttributeError, OSError, RuntimeError, ValueError):  # it has just ended by itself
        response.close()


def build(
    client: docker.DockerClient,
    name: str,
    context: IO[bytes],
    *,
    labels: Mapping[str, str] | None = None,
    dockerfile: str = "Dockerfile",
    arguments: Mapping[str, str] | None = None,
    no_cache: bool = False,
    platform: str = "",
    on_step: Callable[[str], None] = lambda _step: None,
) -> str:
    """Build `context` (a tar) and return the id of the untagged result.

    Raises BuildFailed, with the failing step in its message and the end of the output as `log`.
    """
    log = BuildLog(on_step)
    built = ""
    with refusals(name):
        try:
            events = client.api.build(
                fileobj=context,
                custom_context=True,
                dockerfile=dockerfile,
                buildargs=dict(arguments or {}),
                labels=dict(labels or {}),
                nocache=no_cache,
                platform=platform or None,
                rm=True,
                forcerm=True,
                decode=True,
                use_config_proxy=True,
                timeout=None,
            )
            for event in events:
                if failure(event):
                    raise BuildFailed(failure_line(name, log, event), log.tail())
                log.add(event.get("stream", ""))
                built = (event.get("aux") or {}).get("ID", built)
        except APIError as error:
            if error.is_client_error():  # such as a Dockerfile that can't be parsed
                raise BuildFailed(f"{name}: {one_line(str(error.explanation))}") from None
            raise
    if not built:
        raise EngineError(f"{name}: the engine ended the build without a result: is it being stopped?")
    return built


def stamp(client: docker.DockerClient, name: str, candidate: str, labels: Mapping[str, str], platform: str = "") -> str:
    """Return the id of `candidate` with `labels`. The builder has it in its cache the second time. `platform`: what it
    was built for, when that is not what the engine is."""
    dockerfile = f"FROM {candidate}\n{label_instruction({**labels, CANDIDATE_LABEL: ''})}\n"
    with mkbuildcontext(BytesIO(dockerfile.encode())) as context:
        return build(client, name, context, platform=platform)


def label_instruction(labels: Mapping[str, str]) -> str:
    """Return one LABEL line for all: the engine's own parameter makes a step, and a container, of each."""
    quoted = (f'{key}="{_SPECIAL.sub(_ESCAPED, value)}"' for key, value in labels.items())
    return f"LABEL {' '.join(quoted)}"


def read_content(client: docker.DockerClient, image: str, system: str, memo: ContentMemo, platform: str = "") -> str:
    """Return the digest of the content of the image whose id is `image`, unless `memo` knows it read through a
    container that never starts. `platform`: as of `stamp`."""

    def export() -> str:
        labels = {SYSTEM_LABEL: system, ROLE_LABEL: EXPORT_ROLE}
        made = client.api.create_container(
            image, ["true"], labels=labels, network_disabled=True, platform=platform or None
        )
        try:
            return content_digest(client.api.export(made["Id"]), config)
        finally:
            client.api.remove_container(made["Id"], v=True, force=True)

    with refusals(image):
        found = client.images.get(image).attrs
        config = found["Config"]
        return memo.content(memo_key(found["RootFS"]["Layers"], config), export)


def read_output(client: docker.DockerClient, image: str, system: str, program: str, *words: str) -> str:
    """Return what a program of the image whose id is `image` prints, run in a container without a network.

    Raises EngineError when it can't be run, or ends with another exit code than 0.
    """
    labels = {SYSTEM_LABEL: system, ROLE_LABEL: EXPORT_ROLE}
    with refusals(image):
        made = client.api.create_container(
            image, list(words), entrypoint=[program], labels=labels, network_disabled=True
        )
        try:
            client.api.start(made["Id"])
            code = client.api.wait(made["Id"], timeout=RUN_SECONDS)["StatusCode"]
            output = client.api.logs(made["Id"]).decode(errors="replace")
        finally:
            client.api.remove_container(made["Id"], v=True, force=True)
    if code:
        raise EngineError(f"{image}: {program} ended with {code}: {one_line(output)}")
    return output


def base_digest(client: docker.DockerClient, reference: str) -> str:
    """Return the digest of an external image as this engine has it: that of its registry, else its id.

    Of one that the engine does not have its registry is asked, without a pull; empty when that does not tell.
    """
    if "@" in reference:
        return reference.rpartition("@")[2]
    with refusals(reference):
        try:
            found = client.images.get(reference)
        except ImageNotFound:
            try:
                found = client.api.inspect_distribution(reference)  # type: ignore[no-untyped-call]
                return str(found["Descriptor"]["digest"])
            except APIError:
                return ""
    digests = {entry.rpartition("@")[2] for entry in found.attrs.get("RepoDigests") or ()}
    return digests.pop() if len(digests) == 1 else str(found.id)


def keeps_indices(client: docker.DockerClient) -> bool:
    """Return whether one image on the engine can be of several platforms: whether it is containerd that keeps them."""
    with refusals("engine"):
        status = client.info().get("DriverStatus") or ()
    return any(entry[1:] == ["io.containerd.snapshotter.v1"] for entry in status)


def machine_kind(client: docker.DockerClient) -> str:
    """Return what the engine builds for, such as amd64."""
    with refusals("engine"):
        return str(client.version()["Arch"])


def pull(client: docker.DockerClient, repository: str, digest: str, credentials: Mapping[str, str]) -> str:
    """Pull `ADDRESS/REPOSITORY@DIGEST` and return the image's id. `credentials`: as of `push`."""
    reference = f"{repository}@{digest}"
    with refusals(reference):
        for event in client.api.pull(repository, digest, stream=True, decode=True, auth_config=dict(credentials)):
            if reason := failure(event):
                raise RegistryError(f"{reference}: the pull failed: {one_line(reason)}")
        return str(client.images.get(reference).id)


def tag(client: docker.DockerClient, image: str, repository: str, version: str) -> None:
    """Let `repository:version` name the image; what it named before goes, unless a container uses it. Idempotent."""
    reference = f"{repository}:{version}"
    with refusals(reference):
        before = _id_of(client, reference)
        if before != image:
            client.api.tag(image, repository, version)
    if before and before != image:
        untag(client, before)


def _id_of(client: docker.DockerClient, reference: str) -> str:
    try:
        return str(client.images.get(reference).id)
    except ImageNotFound:
        return ""


def stored_images(client: docker.DockerClient, system: str) -> list[Stored]:
    """Return every version of every image of `system` on the engine: of releases those of all clusters."""
    with refusals("images"):
        found = client.api.images(filters={"label": f"{SYSTEM_LABEL}={system}"})
    return [stored for image in found for stored in _stored(image, system)]


def _stored(image: Mapping[str, Any], system: str) -> Iterator[Stored]:
    labels = image.get("Labels") or {}
    for reference in image.get("RepoTags") or ():
        path, _, spelled = reference.rpartition(":")
        version, place = parse_version(spelled), parse_repository(system, path)
        if version and place and place[0] == labels.get(IMAGE_LABEL) and not foreign(labels, system, *place):
            yield described(labels, system, place, version, image["Id"], image["Size"])


def described(
    labels: Mapping[str, str], prefix: str, place: tuple[str, str], version: Version, digest: str, size_bytes: int
) -> Stored:
    """Return a version of an image with what its labels say. `place`: its name and cluster, by its repository."""
    name, cluster = place
    return Stored(
        name=name,
        version=version,
        digest=digest,
        content=labels.get(CONTENT_LABEL, ""),
        size_bytes=size_bytes,
        pins=parse_pins(labels.get(RELEASE_LABEL, ""), prefix),
        pinned=parse_pinned(labels.get(PINNED_LABEL, "")),
        cluster=cluster,
        promoted=labels.get(PROMOTED_LABEL, ""),
        inputs=labels.get(INPUTS_LABEL, ""),
        etcd=labels.get(ETCD_LABEL, ""),
    )


def foreign(labels: Mapping[str, str], system: str, name: str, cluster: str) -> str:
    """Return why what lies where releases of `cluster` do is none, by its labels; empty for other images. Pure."""
    if name != INSTALLER:
        return ""
    if labels.get(IMAGE_LABEL) != INSTALLER:
        return "it is no release"
    if labels.get(SYSTEM_LABEL) != system:
        return f"it is a release of the system {labels.get(SYSTEM_LABEL) or 'nobody'}"
    named = labels.get(CLUSTER_LABEL, "")
    return "" if named == cluster else f"it is a release of the cluster {named or 'nobody'}"


def render_pins(images: Mapping[str, Image]) -> str:
    """Return the value of RELEASE_LABEL: compact JSON, always the same for the same images."""
    pins = {name: {"version": image.version, "digest": image.digest} for name, image in images.items()}
    return json.dumps(pins, sort_keys=True, separators=(",", ":"))


def parse_pins(text: str, prefix: str) -> tuple[Image, ...]:
    """Return the images that a RELEASE_LABEL names; none when it isn't one of ours. `prefix`: of repositories."""
    try:
        pins = sorted(json.loads(text).items())
        return tuple(Image(name, repository_of(prefix, name), pin["version"], pin["digest"]) for name, pin in pins)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def render_pinned(services: Mapping[str, PinnedService]) -> str:
    """Return the value of PINNED_LABEL: compact JSON, always the same for the same services."""
    return json.dumps({name: asdict(found) for name, found in services.items()}, sort_keys=True, separators=(",", ":"))


def parse_pinned(text: str) -> dict[str, PinnedService]:
    """Return the services that a PINNED_LABEL names; none when it isn't one of ours."""
    try:
        return {
            name: PinnedService(tuple(found["machines"]), str(found["revision"]), float(found["grace_seconds"]))
            for name, found in json.loads(text).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def untag(client: docker.DockerClient, reference: str) -> bool:
    """Take the tag away, and the image with its last tag. False when a container still uses it: then it stays."""
    try:
        client.api.remove_image(reference)
    except ImageNotFound:
        return True
    except APIError as error:
        if error.status_code == requests.codes.conflict:
            return False
        raise EngineError(f"{reference}: {one_line(str(error.explanation))}") from None
    return True


def remove_candidates(client: docker.DockerClient, system: str) -> None:
    """Remove what unfinished builds of `system` left: untagged candidates, and containers made to be read."""
    remove_labelled(client, {SYSTEM_LABEL: system, ROLE_LABEL: EXPORT_ROLE}, ("container",))
    _remove_untagged(client, f"{CANDIDATE_LABEL}={system}")


def remove_superseded(client: docker.DockerClient, system: str) -> None:
    """Remove untagged images of `system` that no container uses: what a container still ran when its version's tag
    moved, and the stages of builds."""
    _remove_untagged(client, f"{SYSTEM_LABEL}={system}")


def _remove_untagged(client: docker.DockerClient, label: str) -> None:
    with refusals("clean-up"):
        filters: dict[str, Any] = {"dangling": True, "label": label}
        for image in client.api.images(filters=filters):
            untag(client, image["Id"])


def push(
    client: docker.DockerClient,
    reference: str,
    credentials: Mapping[str, str],
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> frozenset[str]:
    """Push `ADDRESS/REPOSITORY:TAG`; return the digests by which the engine knows the image in that repository.

    The registry has one of them, unless somebody else has pushed the same tag meanwhile: ask it. (Another registry of
    that address, in earlier days, may have had another.)
    `credentials`: username and password; they go in a header. `on_progress(done, total)`: bytes of all layers so far.
    Raises RegistryError for an error inside the stream, which the engine sends with a status of 200.
    """
    repository, _, version = reference.rpartition(":")
    progress = LayersProgress()
    with refusals(reference):
        for event in client.api.push(repository, version, stream=True, decode=True, auth_config=dict(credentials)):
            if reason := failure(event):
                raise RegistryError(f"{reference}: the push failed: {one_line(reason)}")
            if progress.note(event):
                on_progress(progress.done, progress.total)
        known = client.images.get(reference).attrs.get("RepoDigests") or ()
    return frozenset(digest for name, _, digest in (entry.rpartition("@") for entry in known) if name == repository)
