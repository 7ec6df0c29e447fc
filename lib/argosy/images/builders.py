"""The builder of a run of builds, chosen once: BuildKit where there is one, else the engine's classic builder.

Both get the same context, and make images of the same content; BuildKit builds Dockerfiles that the other can't.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import IO, Literal

import docker

from argosy.errors import ConfigError, EngineError
from argosy.images import store
from argosy.images.buildkit import BuildKit, BuildRequest, buildx_version
from argosy.images.dockerfile import needs_buildkit, parse_dockerfile

Choice = Literal["auto", "buildkit", "classic"]
ADVICE = "install docker's plugin buildx (Debian: docker-buildx) and leave build.builder at auto"
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Builder:
    """`told`: which one it is, and why; `buildkit`: nothing for the classic builder; `logins`: user and password by the
    address of a registry; `caches`: whether the cluster's registry keeps a cache."""

    told: str
    buildkit: BuildKit | None = None
    logins: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    caches: bool = False

    def build(
        self,
        client: docker.DockerClient,
        name: str,
        context: IO[bytes],
        request: BuildRequest,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> str:
        """Build `context` (a tar) and return the id of the untagged result. Raises BuildFailed, with the failing step
        in its message and the end of the output as `log`."""
        if self.buildkit:
            return self.buildkit.build(name, context, request, self.logins, on_step)
        return store.build(
            client,
            name,
            context,
            labels=request.labels,
            dockerfile=request.dockerfile,
            arguments=request.arguments,
            no_cache=request.no_cache,
            platform=request.platform,
            on_step=on_step,
        )

    def end(self) -> None:
        """End the builds that run in programs of their own. Those of the classic builder end with their streams."""
        if self.buildkit:
            self.buildkit.end()

    def refuse_dockerfile(self, text: str, file: str, path: str, given: Collection[str] = ()) -> None:
        """Raise ConfigError when this builder can't build a Dockerfile. `file`: its name, for messages; `path`: the
        config path that names it; `given`: the names of the build arguments that it gets."""
        found = [] if self.buildkit else needs_buildkit(parse_dockerfile(text), given)
        if found:
            first = "; ".join(f"line {need.line}: {need.what}" for need in found[:SHOWN])
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise ConfigError(f"{file}, {first}{more}: this needs BuildKit, and the builder is {self.told}", path)

    def refuse_setting(self, value: object, path: str) -> None:
        """Raise ConfigError when a setting of an image asks for what this builder has not."""
        if value and not self.buildkit:
            raise ConfigError(f"this needs BuildKit, and the builder is {self.told}", path)


def choose_builder(choice: Choice) -> Builder:
    """Return the builder for `build.builder`. Raises ConfigError when BuildKit is asked for and can't be had."""
    if choice == "classic":
        return Builder("the classic one, as build.builder says: leave it at auto")
    try:
        version = buildx_version()
    except EngineError as error:
        if choice == "buildkit":
            raise ConfigError(f"{error}: {ADVICE}", "build.builder") from None
        return Builder(f"the classic one, since {error}: {ADVICE}")
    return Builder(f"BuildKit, by docker buildx {version}", BuildKit())
