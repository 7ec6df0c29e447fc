"""Images on the Docker engine: built, given a version, told apart by content, pushed, removed.

The engine's classic builder does the work (its API is in 20.10 and in every later engine). A build yields a *candidate*
without a tag; `stamp` makes the version's image of it, which carries what it is in its labels:

    argosy.candidate               on a candidate, the system, so that one left behind is found; on a version, nothing.
                                   An untagged stage of a build has its base's labels, so it never passes for one.
    argosy.system, argosy.image    whose it is
    argosy.version                 0.1.3
    argosy.content                 sha256:..., see argosy.content
    argosy.release                 on the installer: {"frontend": {"version": "0.1.3", "digest": "sha256:..."}, ...}
"""

from __future__ import annotations

import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import IO, Any

import docker
import requests
from docker.errors import APIError, ImageNotFound

from argosy.build_log import BuildLog, failure_line
from argosy.content import content_digest
from argosy.engine import SYSTEM_LABEL, remove_labelled
from argosy.engine_connection import connect, one_line, refusals
from argosy.errors import BuildFailed, EngineError, Interrupted, RegistryError
from argosy.model import Image
from argosy.versions import Stored, parse_version

IMAGE_LABEL = "argosy.image"
CANDIDATE_LABEL = "argosy.candidate"
VERSION_LABEL = "argosy.version"
CONTENT_LABEL = "argosy.content"
RELEASE_LABEL = "argosy.release"
ROLE_LABEL = "argosy.role"
EXPORT_ROLE = "export"

_SPECIAL = re.compile(r'[\\"$]')


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
                rm=True,
                forcerm=True,
                decode=True,
                use_config_proxy=True,
                timeout=None,
            )
            for event in events:
                if "error" in event:
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


def stamp(client: docker.DockerClient, name: str, candidate: str, labels: Mapping[str, str]) -> str:
    """Return the id of `candidate` with `labels`. The builder has it in its cache the second time."""
    labels = {**labels, CANDIDATE_LABEL: ""}
    return build(client, name, _dockerfile_only(f"FROM {candidate}\n{label_instruction(labels)}\n"))


def label_instruction(labels: Mapping[str, str]) -> str:
    """Return one LABEL line for all: the engine's own parameter makes a step, and a container, of each."""
    quoted = (f'{key}="{_SPECIAL.sub(_escaped, value)}"' for key, value in labels.items())
    return f"LABEL {' '.join(quoted)}"


def _escaped(special: re.Match[str]) -> str:
    return f"\\{special[0]}"


def _dockerfile_only(text: str) -> IO[bytes]:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(text)
        archive.addfile(info, BytesIO(text.encode()))
    stream.seek(0)
    return stream


def export_content(client: docker.DockerClient, image: str, system: str) -> str:
    """Return the digest of the content of the image whose id is `image`, read through a container that never starts."""
    with refusals(image):
        config = client.images.get(image).attrs["Config"]
        labels = {SYSTEM_LABEL: system, ROLE_LABEL: EXPORT_ROLE}
        made = client.api.create_container(image, ["true"], labels=labels, network_disabled=True)
        try:
            return content_digest(client.api.export(made["Id"]), config)
        finally:
            client.api.remove_container(made["Id"], v=True, force=True)


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
    """Return every version of every image of `system` on the engine."""
    with refusals("images"):
        found = client.api.images(filters={"label": f"{SYSTEM_LABEL}={system}"})
    return [stored for image in found for stored in _stored(image, system)]


def _stored(image: Mapping[str, Any], system: str) -> Iterator[Stored]:
    labels = image.get("Labels") or {}
    name = labels.get(IMAGE_LABEL, "")
    for reference in image.get("RepoTags") or ():
        repository, _, spelled = reference.rpartition(":")
        version = parse_version(spelled)
        if version and repository == f"{system}/{name}":
            yield Stored(
                name=name,
                version=version,
                digest=image["Id"],
                content=labels.get(CONTENT_LABEL, ""),
                size_bytes=image["Size"],
                pins=parse_pins(labels.get(RELEASE_LABEL, ""), system),
            )


def render_pins(images: Mapping[str, Image]) -> str:
    """Return the value of RELEASE_LABEL: compact JSON, always the same for the same images."""
    pins = {name: {"version": image.version, "digest": image.digest} for name, image in images.items()}
    return json.dumps(pins, sort_keys=True, separators=(",", ":"))


def parse_pins(text: str, system: str) -> tuple[Image, ...]:
    """Return the images that a RELEASE_LABEL names; none when it isn't one of ours."""
    try:
        pins = sorted(json.loads(text).items())
        return tuple(Image(name, f"{system}/{name}", pin["version"], pin["digest"]) for name, pin in pins)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


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
) -> str:
    """Push `ADDRESS/REPOSITORY:TAG` and return the digest of its manifest.

    `credentials`: username and password; they go in a header. `on_progress(done, total)`: bytes of all layers so far.
    Raises RegistryError for an error inside the stream, which the engine sends with a status of 200.
    """
    repository, _, version = reference.rpartition(":")
    layers: dict[str, tuple[int, int]] = {}
    digest = ""
    with refusals(reference):
        for event in client.api.push(repository, version, stream=True, decode=True, auth_config=dict(credentials)):
            if "error" in event:
                raise RegistryError(f"{reference}: the push failed: {one_line(str(event['error']))}")
            progress = event.get("progressDetail") or {}
            if "total" in progress:
                layers[event["id"]] = (progress["current"], progress["total"])
                on_progress(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))
            digest = (event.get("aux") or {}).get("Digest", digest)
    if not digest:
        raise EngineError(f"{reference}: the engine ended the push without a digest: is it being stopped?")
    return digest
