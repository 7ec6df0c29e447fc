"""How an installation ends when it does not succeed. The exit codes tell systemd whether to try again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import ParamSpec

from argosy_installer.progress import say

P = ParamSpec("P")

EXIT_INSTALLED = 0
EXIT_FAILED = 1
EXIT_TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h."""


@dataclass(frozen=True)
class Failure:
    """Why one service, or with an empty `service` the installation itself, failed; `log`: its last lines."""

    service: str
    reason: str
    log: Sequence[str] = field(default_factory=tuple)


class Failed(Exception):
    """Trying again would end the same: somebody has to change something. The message is one line."""

    def __init__(self, *failures: Failure) -> None:
        self.failures = failures
        super().__init__(
            "; ".join(f"{each.service}: {each.reason}" if each.service else each.reason for each in failures)
        )

    @classmethod
    def because(cls, reason: str) -> Failed:
        return cls(Failure("", reason))


class TryAgain(Exception):
    """Something that is not there now may be there later. The message is one line."""


def command(run: Callable[P, int]) -> Callable[P, int]:
    """Let a command, which returns its exit code, say why it does not succeed, and return the code for that."""

    @wraps(run)
    def ended(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return run(*args, **kwargs)
        except Failed as failed:
            say(f"failed: {failed}")
            return EXIT_FAILED
        except TryAgain as later:
            say(f"to be tried again: {later}")
            return EXIT_TRY_AGAIN

    return ended
