"""Every error that Argosy raises on purpose.

All of them subclass `invoke.Exit`: `inv` prints the message as one line and exits with `code`; a library user
catches an ordinary exception. Codes are stable (docs/errors.md) and say how far things went:

    code  class                 nothing was changed?
    ----  --------------------  ------------------------------------------------
          ArgosyError
    10    |- ConfigError        yes: bad configuration or arguments
    11    |- Refused            yes: a precondition does not hold
    12    |  |- QuorumAtRisk
    13    |  |- LockHeld
    14    |  `- StalePlan
    15    |- LockLost           no: what was begun may be half-way; nothing is changed any more
    20    |- HostUnreachable    nothing on that host
    21    |- HostKeyMismatch    nothing on that host: its key is unknown, or another than the pinned one
    22    |- LoginRefused       nothing on that host: ssh did not let us in
    30    |- CommandFailed      what came before the command stays
    31    |- HostsFailed        hosts that are not named in it succeeded
    32    |- Unhealthy          the change was made, its result does not pass its checks
    34    |  `- TakenBack       yes, in the end: what did not pass was taken back, and the old serves on
    33    |- DeadlineExceeded   as far as the message says
    40    |- EngineError        the Docker engine refused or is not there
    43    |  `- EngineRefused    that one call of a machine's engine; what came before it stays
    44    |     `- OutOfSequence the same, since somebody else has changed the object meanwhile
    41    |- BuildFailed        no version was added
    42    |- RegistryError      images already uploaded stay
    50    |- EtcdError          etcd refused or can't be reached
    51    |  `- EtcdCompacted
    60    |- CloudError         resources already made stay, under our labels
    130   `- Interrupted        by Ctrl-C; the same command resumes, or clears up
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import ClassVar

try:
    from invoke.exceptions import Exit
except ImportError:  # in the images of the agent and the installer, which run no tasks

    class Exit(Exception):  # type: ignore[no-redef]
        def __init__(self, message: str, code: int) -> None:
            super().__init__(message)
            self.message, self.code = message, code


class ArgosyError(Exit):
    """Root of the tree. `message` is one line: what failed, where, and the next step."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(message=message, code=self.exit_code)

    def __str__(self) -> str:
        return str(self.message)


class ConfigError(ArgosyError):
    """Bad configuration or a bad argument. `path` is the dotted path of the key, or the argument's name."""

    exit_code = 10

    def __init__(self, message: str, path: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class Refused(ArgosyError):
    """A precondition does not hold; nothing was changed."""

    exit_code = 11


class QuorumAtRisk(Refused):
    """The step would leave etcd less able to survive the loss of a member than it is now."""

    exit_code = 12


class LockHeld(Refused):
    """Another operator is changing the cluster. `holder` says who, from where, since when."""

    exit_code = 13

    def __init__(self, message: str, holder: str) -> None:
        self.holder = holder
        super().__init__(message)


class StalePlan(Refused):
    """The cluster has moved since the plan was made."""

    exit_code = 14


class LockLost(ArgosyError):
    """We hold the cluster's lock no longer: somebody broke it, or etcd was out of reach for too long.

    What was begun may be half-way; run the same again.
    """

    exit_code = 15


class HostUnreachable(ArgosyError):
    """No ssh connection could be made to `host`."""

    exit_code = 20

    def __init__(self, host: str, message: str) -> None:
        self.host = host
        super().__init__(f"{host}: {message}")


class HostKeyMismatch(HostUnreachable):
    """The host's key is not the pinned one, or none is pinned. Never accepted silently."""

    exit_code = 21


class LoginRefused(HostUnreachable):
    """The host answered, its key is right, and it did not accept our user or key."""

    exit_code = 22


class CommandFailed(ArgosyError):
    """A command ended with a non-zero status. `result` is the `host.Result` with its output."""

    exit_code = 30

    def __init__(self, message: str, result: object = None) -> None:
        self.result = result
        super().__init__(message)


class HostsFailed(ArgosyError):
    """Some hosts of a fan-out failed; all were given the time to finish. `failures` maps host to error."""

    exit_code = 31

    def __init__(self, what: str, failures: Mapping[str, BaseException], total: int) -> None:
        self.failures = dict(failures)
        reasons = "; ".join(with_host(host, error) for host, error in sorted(failures.items()))
        super().__init__(f"{what} failed on {len(failures)} of {total} machines: {reasons}")


def with_host(host: str, error: BaseException) -> str:
    """Return the error's message, which begins with the host's name."""
    text = str(error) or type(error).__name__
    return text if text.startswith(f"{host}:") else f"{host}: {text}"


class Unhealthy(ArgosyError):
    """Something runs but does not pass its check."""

    exit_code = 32


class TakenBack(Unhealthy):
    """A change did not come to a good end and was undone: what was in service before is so still."""

    exit_code = 34


class DeadlineExceeded(ArgosyError):
    """Something did not become ready in the time it was given."""

    exit_code = 33


class EngineError(ArgosyError):
    """The Docker engine is not there or refused."""

    exit_code = 40


class EngineRefused(EngineError):
    """A machine's engine answered a call of its API with an error. `status`: HTTP's; it tells them apart; `reason`: the
    engine's own words."""

    exit_code = 43

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


class OutOfSequence(EngineRefused):
    """The object has been changed by somebody else since it was looked at: look again, decide again."""

    exit_code = 44


class BuildFailed(ArgosyError):
    """An image could not be built; no version was added. `log` is the end of the build's output."""

    exit_code = 41

    def __init__(self, message: str, log: str = "") -> None:
        self.log = log
        super().__init__(message)


class RegistryError(ArgosyError):
    """The registry can't be reached, refused our password, or answered with an error. `passes`: it may do so by
    itself; `wait_seconds`: for how long the registry asks to be left alone."""

    exit_code = 42

    def __init__(self, message: str, *, passes: bool = False, wait_seconds: float = 0) -> None:
        self.passes = passes
        self.wait_seconds = wait_seconds
        super().__init__(message)


class EtcdError(ArgosyError):
    """etcd can't be reached, has no quorum, or refused."""

    exit_code = 50


class EtcdCompacted(EtcdError):
    """The history that a watch asked for is gone: list the keys anew and watch from there."""

    exit_code = 51


class CloudError(ArgosyError):
    """Google's API refused, or can't be reached. `reason`: its own word for it, such as `quotaExceeded`."""

    exit_code = 60

    def __init__(self, message: str, reason: str = "") -> None:
        self.reason = reason
        super().__init__(message)


class Interrupted(ArgosyError):
    """Ctrl-C."""

    exit_code = 130


def nearest(word: str, known: Mapping[str, object]) -> str:
    """Return ` (did you mean 'x'?)` for the known word closest to `word`, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
