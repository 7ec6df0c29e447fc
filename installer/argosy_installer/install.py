"""The command `install`: the steps in their order, and one result line whatever happens."""

from __future__ import annotations

import errno
import json
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from argosy_installer import files, joining, pulling, record, settings, templates, units
from argosy_installer.docker import Docker
from argosy_installer.errors import EXIT_FAILED, EXIT_INSTALLED, Failed, Failure, TryAgain, command
from argosy_installer.etcd import Etcd, mutual_tls
from argosy_installer.machine import Machine, from_environment
from argosy_installer.progress import Say, say
from argosy_installer.release import Release, load_own
from argosy_installer.starting import Starter

RESULT_PREFIX = "argosy-result "


@command
def run(environment: Mapping[str, str]) -> int:
    """Install, and return the exit code. The last line on stdout is the result, unless trying again may help."""
    began = time.monotonic()
    machine = from_environment(environment)
    try:
        with files.single_instance(machine.state / "installer.lock"):
            files.remove_leftovers(machine)
            return _run_alone(machine, began)
    except OSError as error:
        return _finish(machine, began, (Failure("", _explain(error)),))


def _run_alone(machine: Machine, began: float) -> int:
    record.write_result(machine, record.result(machine, "installing"))
    try:
        install(machine, load_own(machine), say)
    except TryAgain as later:
        record.write_result(machine, record.result(machine, "installing", reason=str(later)))
        raise
    except Failed as failed:
        return _finish(machine, began, failed.failures)
    except Exception as error:  # noqa: BLE001 (whatever it is, the operator must get a result)
        if not isinstance(error, OSError):
            traceback.print_exc()
        return _finish(machine, began, (Failure("", _explain(error)),))
    return _finish(machine, began, ())


def install(machine: Machine, release: Release, say: Say) -> None:
    """Make the machine what the release says. Raises Failed or TryAgain; can be run again after any end."""
    say(f"installing release {machine.version} of {machine.system} on {machine.name}")
    docker = Docker(machine.docker_socket)
    secrets = machine.secrets
    tls = mutual_tls(secrets / "ca.crt", secrets / "etcd-client.crt", secrets / "etcd-client.key")
    abandoned = threading.Event()
    deadline = time.monotonic() + release.deadline_seconds
    etcd = Etcd(machine.etcd_endpoints, tls, deadline, say, abandoned)
    wanted_settings = settings.wanted(machine)
    with ThreadPoolExecutor(1, thread_name_prefix="images") as pool:
        images = pool.submit(pulling.pull, docker, machine, release, say)
        images.add_done_callback(lambda done: abandoned.set() if done.exception() else None)
        try:
            if machine.role == "member":
                others = Etcd(machine.other_members, tls, deadline, say, abandoned)
                joining.promote_own_learner(etcd, others, say)
            etcd.wait_until_healthy()
            say("etcd: healthy")
            settings.write(etcd, {**release.keys, **wanted_settings}, say)
        finally:
            images.result()  # an image that can't be had ends the wait for etcd too, and is the reason to tell
    templates.install(machine, release, say)
    changed = units.install(machine, release, say)
    record.write_unit_digests(machine, release)
    record.write_release(machine, release)
    record.write_service_words(machine, release)
    Starter(docker, machine, release, say).start_all(changed)
    record.register(etcd, machine)


def _finish(machine: Machine, began: float, failures: tuple[Failure, ...]) -> int:
    content = record.result(machine, "failed" if failures else "active", time.monotonic() - began, failures)
    for failure in failures:
        say(f"failed: {f'{failure.service}: ' if failure.service else ''}{failure.reason}")
        for line in failure.log:
            say(f"    {line}")
    with suppress(OSError):  # a full disk; the line below says it all the same
        record.write_result(machine, content)
    say(RESULT_PREFIX + json.dumps(content))
    return EXIT_FAILED if failures else EXIT_INSTALLED


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk for {error.filename or 'a file'}: make room and restart the installer"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return f"unexpected {type(error).__name__}: {error}"
