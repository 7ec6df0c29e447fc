"""Step 1: the images of the release, by digest. As the command `pull` it is the only one, and nothing is stopped."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from argosy.engine.api import Json
from argosy_installer.docker import Credentials, Docker, PullFailed, credentials
from argosy_installer.errors import EXIT_INSTALLED, Failed, TryAgain, command
from argosy_installer.machine import Machine, from_environment, read_json
from argosy_installer.progress import Say, say
from argosy_installer.release import Image, Release, load_own

PARALLEL = 3
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
UNPACKED_FACTOR = 3
"""Layers travel compressed; unpacked they take about three times as much."""
FREE_BYTES_NEEDED = 32 * 1024 * 1024


def delay_seconds(attempt: int, jitter: float) -> float:
    """Return how long to wait after the failed `attempt` (1, 2, ...): twice as long each time, half to all of it.

    `jitter`: 0 to 1, random, so that machines that failed together don't come back together.
    """
    longest: float = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1))
    return longest * (0.5 + 0.5 * jitter)


@dataclass
class Layers:
    """What the progress of one pull tells about its size."""

    compressed: dict[str, int] = field(default_factory=dict)

    def note(self, event: Json) -> None:
        total = (event.get("progressDetail") or {}).get("total")
        if event.get("status") == "Downloading" and total:
            self.compressed[event.get("id", "")] = int(total)

    def bytes_needed(self) -> int:
        return FREE_BYTES_NEEDED + UNPACKED_FACTOR * sum(self.compressed.values())


def free_bytes() -> int:
    """Return what is free where Docker keeps its images: the root of a container is an overlay in that folder."""
    return shutil.disk_usage("/").free


class Puller:
    """Pulls images with back-off, a few at once, and tells what will never succeed from what may later."""

    def __init__(self, docker: Docker, machine: Machine, attempts: int, say: Say) -> None:
        self._docker = docker
        self._registry = machine.registry
        self._credentials_file = machine.secrets / "registry/config.json"
        self._attempts = attempts
        self._say = say
        self._abandoned = threading.Event()

    def pull_all(self, images: Iterable[tuple[str, Image]]) -> None:
        """Pull every image that is not there. Raises Failed or TryAgain; the first of these gives up all the others."""
        wanted = [(name, image) for name, image in images if not self._docker.image_exists(self._reference(image))]
        if not wanted:
            self._say("images: all are here")
            return
        login = self._login()
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="pull") as pool:
            pulls = [pool.submit(self._pull, name, image, login) for name, image in wanted]
            wait(pulls, return_when=FIRST_EXCEPTION)
            self._abandoned.set()
        errors = [error for pull in pulls if (error := pull.exception())]
        for error in sorted(errors, key=lambda each: isinstance(each, TryAgain)):
            raise error

    def _reference(self, image: Image) -> str:
        return image.reference(self._registry)

    def _login(self) -> Credentials:
        """Return the registry's password. Raises Failed when there is none."""
        login = credentials(read_json(self._credentials_file), self._registry)
        if login is None:
            file = self._credentials_file
            raise Failed.because(f"{file} has no password for {self._registry}: inv cluster.upload-secrets")
        return login

    def _pull(self, name: str, image: Image, login: Credentials) -> None:
        self._say(f"{name}: pulling {image.version}")
        began = time.monotonic()
        for attempt in range(1, self._attempts + 1):
            layers = Layers()
            try:
                self._refuse_full_disk(name, layers)
                self._refuse_missing(name, image, login)
                self._docker.pull(self._reference(image), login, layers.note)
            except PullFailed as error:
                self._refuse_full_disk(name, layers)
                self._back_off(name, attempt, str(error))
            else:
                self._say(f"{name}: pulled {image.version} in {time.monotonic() - began:.1f} s")
                return

    def _refuse_full_disk(self, name: str, layers: Layers) -> None:
        free, needed = free_bytes(), layers.bytes_needed()
        if free < needed:
            raise Failed.because(
                f"image {name} does not fit on the disk: {_megabytes(free)} MB free where Docker keeps images, "
                f"about {_megabytes(needed)} MB needed. Make room (docker system prune) and restart the installer"
            )

    def _refuse_missing(self, name: str, image: Image, login: Credentials) -> None:
        """Raise Failed for what the registry answers and a pull, which only gives a text, would hide."""
        status, message = self._docker.ask_registry(self._reference(image), login)
        if status in (401, 403):
            raise Failed.because(
                f"the registry {self._registry} does not let user {login.user} in to pull {name} ({message}): "
                "set the right password and run inv cluster.upload-secrets"
            )
        if status == 404:
            raise Failed.because(
                f"the registry {self._registry} has no {image.repository}@{image.digest} ({name}): inv registry.push"
            )
        if status >= 500:
            raise PullFailed(message)

    def _back_off(self, name: str, attempt: int, reason: str) -> None:
        if attempt == self._attempts:
            raise TryAgain(f"image {name} could not be pulled in {attempt} attempts: {reason}")
        seconds = delay_seconds(attempt, random.random())  # noqa: S311 (no secret)
        self._say(f"{name}: attempt {attempt} of {self._attempts} failed, next in {seconds:.0f} s: {reason}")
        if self._abandoned.wait(seconds):
            raise TryAgain(f"image {name}: given up with the others: {reason}")


def pull(docker: Docker, machine: Machine, release: Release, say: Say) -> None:
    Puller(docker, machine, release.pull_attempts, say).pull_all(release.images.items())


@command
def run(environment: Mapping[str, str]) -> int:
    """Pull what the release needs and is not there, and return 0 when all of it is."""
    machine = from_environment(environment)
    pull(Docker(machine.docker_socket), machine, load_own(machine), say)
    return EXIT_INSTALLED


def _megabytes(count: int) -> int:
    return count // (1024 * 1024)
