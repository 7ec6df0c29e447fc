"""BuildKit through the program `docker buildx`: its default builder, which is the engine's own BuildKit.

That one has the images of this engine, so an image of ours can be built on another, and needs no container of its own.
Each build is a child process; the engine stops a build whose client is gone.
https://docs.docker.com/reference/cli/docker/buildx/build/
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from argosy import atomic
from argosy.engine.connection import DEFAULT_ENGINE
from argosy.errors import BuildFailed, EngineError, Interrupted
from argosy.images.log import BuildKitLog

PROGRAM = ("docker", "buildx")
CONFIG_FILE = "config.json"
ASK_SECONDS = 30
END_SECONDS = 10


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is built of a context. `arguments`: values of build arguments; `secrets`: by id the file that holds each;
    `platform`: such as linux/arm64, several by commas; the engine's own when empty; `cache`: the reference
    in a registry where what the steps make is kept."""

    dockerfile: str = "Dockerfile"
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    no_cache: bool = False
    cache: str = ""


def buildx_words(request: BuildRequest, metadata: str) -> list[str]:
    """Return the command that builds the tar on its standard input. `metadata`: the file for what came of it."""
    words = [*PROGRAM, "build", "--builder", "default", "--progress", "plain", "--load", "--metadata-file", metadata]
    words += ["--file", request.dockerfile]
    words += [word for name, value in request.labels.items() for word in ("--label", f"{name}={value}")]
    words += [word for name, value in request.arguments.items() for word in ("--build-arg", f"{name}={value}")]
    words += [word for name, path in request.secrets.items() for word in ("--secret", f"id={name},src={path}")]
    words += ["--platform", request.platform] if request.platform else []
    words += ["--no-cache"] if request.no_cache else []
    if request.cache:
        where = f"type=registry,ref={request.cache}"
        words += ["--cache-from", where, "--cache-to", f"{where},mode=max,ignore-error=true"]
    return [*words, "-"]


def buildx_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of docker's program: the engine is the one that our own client uses, whatever context or
    builder the user has chosen; and a result is one image, without a manifest of attestations beside it."""
    kept = {name: value for name, value in environment.items() if name not in ("DOCKER_CONTEXT", "BUILDX_BUILDER")}
    return {**kept, "DOCKER_HOST": kept.get("DOCKER_HOST") or DEFAULT_ENGINE, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def docker_config(own: Mapping[str, Any], folder: str, logins: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the configuration of docker's program: the user's `own`, of `folder`, with `logins` that win over it.

    https://docs.docker.com/reference/cli/docker/#configuration-files. A helper without a name is the file itself: that
    of the user's, where all logins have one, is not asked for ours.
    """
    auths = {
        address: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
        for address, (user, password) in logins.items()
    }
    helpers = {**(own.get("credHelpers") or {}), **dict.fromkeys(logins, "")}
    plugins = [f"{folder}/cli-plugins", *(own.get("cliPluginsExtraDirs") or ())]
    config = {**own, "auths": {**(own.get("auths") or {}), **auths}, "credHelpers": helpers}
    return {**config, "cliPluginsExtraDirs": plugins}


def buildx_version() -> str:
    """Return the version of this host's buildx. Raises EngineError, with the reason, where there is none."""
    words = [*PROGRAM, "version"]
    try:
        done = subprocess.run(
            words,
            env=buildx_environment(os.environ),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ASK_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise EngineError("there is no program `docker` here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"`{' '.join(words)}` can't be asked: {error}") from None
    said = done.stdout.split()
    if done.returncode != 0 or len(said) < 2:
        raise EngineError("docker has no `buildx` here")
    return said[1]


class BuildKit:
    """Runs builds, from several threads."""

    def __init__(self) -> None:
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def build(
        self,
        name: str,
        context: IO[bytes],
        request: BuildRequest,
        logins: Mapping[str, tuple[str, str]],
        on_step: Callable[[str], None],
    ) -> str:
        """Build `context` (a tar) and return the id of the untagged result. `logins`: to registries, beside the user's.

        Raises BuildFailed, with the failing step in its message and the end of its output as `log`; Interrupted when it
        was ended.
        """
        log = BuildKitLog(on_step)
        context.flush()
        os.lseek(context.fileno(), 0, os.SEEK_SET)
        with tempfile.TemporaryDirectory(prefix="argosy-build-") as folder:
            metadata = Path(folder) / "metadata.json"
            environment = buildx_environment(os.environ)
            if logins:
                own = environment.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
                environment = {"DOCKER_CERT_PATH": own, **environment, "DOCKER_CONFIG": folder}
                _write_config(Path(folder), own, logins)
            with self._child(buildx_words(request, str(metadata)), environment, context) as child:
                for line in child.stdout or ():
                    log.add(line)
                code = child.wait()
            if self._ended:
                raise Interrupted("interrupted")
            if code != 0:
                raise BuildFailed(log.failure_line(name), log.tail())
            return _result(name, metadata)

    def end(self) -> None:
        """End every build that runs, and every later one as it begins."""
        with self._lock:
            self._ended = True
            children = list(self._children)
        for child in children:
            _end(child)

    @contextmanager
    def _child(
        self, words: list[str], environment: Mapping[str, str], context: IO[bytes]
    ) -> Iterator[subprocess.Popen[str]]:
        """Yield the running command; it is over in the end. In a session of its own: a Ctrl-C is for us to pass on."""
        with self._lock:
            if self._ended:
                raise Interrupted("interrupted")
            child = subprocess.Popen(
                words,
                env=environment,
                stdin=context,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._children.add(child)
        try:
            with child:
                try:
                    yield child
                finally:
                    _end(child)
        finally:
            with self._lock:
                self._children.discard(child)


def _write_config(folder: Path, own: str, logins: Mapping[str, tuple[str, str]]) -> None:
    try:
        users = json.loads((Path(own) / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        users = {}
    atomic.write(folder / CONFIG_FILE, json.dumps(docker_config(users, own, logins)).encode(), mode=0o600)


def _end(child: subprocess.Popen[str]) -> None:
    """End a command with what it has started, if it still runs: docker's program leaves the work to its plugin."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        try:
            os.killpg(child.pid, number)
            child.wait(END_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _result(name: str, metadata: Path) -> str:
    try:
        return str(json.loads(metadata.read_bytes())["containerimage.digest"])
    except (OSError, ValueError, KeyError):
        raise EngineError(f"{name}: docker buildx does not tell what it has built: is it older than 0.8?") from None
