"""Argosy's `@task`: Invoke's own, plus positional words, one line for a number that is none, and an orderly Ctrl-C.

Invoke fills a fixed number of positional arguments, one word each, and none that has a default. Addresses come in any
number (`inv cluster.cloud-config IP...`) and `inv local.start [N]` takes a word or none, so a parameter named in
`words=` takes the words that follow the task up to the next flag or task name, `words_max` of them at most.

Invoke has no seam for that: its parser asks an argument whether it still lacks a value before it looks whether the next
word names a task. `_handle` below stands before `ParseMachine.handle` and leaves all else to it
(invoke 2.2.1, invoke/parser/parser.py; the pin in pyproject.toml and tests/unit/test_tasking.py guard it).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from invoke.exceptions import Exit
from invoke.parser import parser as invoke_parser
from invoke.parser.argument import Argument
from invoke.tasks import Task as InvokeTask
from invoke.tasks import task as invoke_task

from argosy.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from invoke.context import Context

    from argosy.config import Settings

A = TypeVar("A", bound=Argument)

_UNLIMITED = 1_000_000
BROKEN_PIPE = 141
"""What a shell reports of a program that SIGPIPE has ended."""


class Words(Argument):
    """A list argument that also takes positional words: at most `limit` of them."""

    limit: int = _UNLIMITED

    def accepts_word(self) -> bool:
        return len(self.value) < self.limit


class Number(Argument):
    """A number; what is none is refused in one line, where Invoke lets Python's ValueError through."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        try:
            super().set_value(value, cast)
        except ValueError:
            flag = self.names[0].replace("_", "-")
            raise ConfigError(f"{value!r} is no {'whole ' if self.kind is int else ''}number", f"--{flag}") from None


class Task(InvokeTask):  # type: ignore[type-arg]
    """A task with positional words, which ends with 130 and one line on Ctrl-C."""

    words: str = ""
    words_max: int = _UNLIMITED

    def __init__(self, *args: Any, words: str = "", words_max: int = _UNLIMITED, **kwargs: Any) -> None:
        if words:
            kwargs["iterable"] = [*(kwargs.get("iterable") or ()), words]
        super().__init__(*args, **kwargs)
        self.words = words
        self.words_max = words_max

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        # Invoke takes each text out of `help` as it makes the arguments, so a second call would find none.
        texts = dict(self.help)
        try:
            arguments = super().get_arguments(ignore_unknown_help)
        finally:
            self.help = texts
        return [self._of_our_kind(argument) for argument in arguments]

    def _of_our_kind(self, argument: Argument) -> Argument:
        if argument.name == self.words:
            words = _as(Words, argument, list)
            words.limit = self.words_max
            return words
        if argument.kind in (int, float) and not argument.incrementable and not argument.positional:
            return _as(Number, argument, argument.kind)
        return argument

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except KeyboardInterrupt:
            raise Interrupted(f"{self.name}: interrupted; the same command again goes on from here") from None
        except BrokenPipeError:
            # Whoever read our output (`| head`) has had enough. Python would complain of it once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=BROKEN_PIPE) from None


def _as(made: type[A], argument: Argument, kind: type) -> A:
    return made(
        names=argument.names,
        kind=kind,
        default=argument.default,
        help=argument.help,
        optional=argument.optional,
        attr_name=argument.attr_name,
    )


def task(*args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Declare a task as `invoke.task` does. `words`: the parameter that takes positional words, at most `words_max`."""
    decorate: Callable[..., Any] = partial(invoke_task, klass=Task)
    return decorate(*args, **kwargs)  # type: ignore[no-any-return]


def settings_of(context: Context, cluster: str = "") -> Settings:
    """Return the validated settings of the chosen cluster; pydantic is imported only when a task runs."""
    from argosy.config import load

    settings = load(context.config, cluster)
    if settings.provider == "vagrant":
        from argosy.local_settings import localized

        return localized(settings)
    if settings.provider == "gce":
        from argosy.gce_record import entered

        return entered(settings)
    return settings


_invoke_handle = invoke_parser.ParseMachine.handle


def _handle(machine: Any, token: str) -> None:
    """Give `token` to the current task's `Words` where Invoke would not know what to do with it."""
    context = machine.context
    if context is not None and not machine.waiting_for_flag_value and not token.startswith("-"):
        words = next((arg for arg in context.args.values() if isinstance(arg, Words)), None)
        free = not context.missing_positional_args and token not in machine.contexts
        if words is not None and free and words.accepts_word():
            words.value = token
            return
    _invoke_handle(machine, token)


setattr(invoke_parser.ParseMachine, "handle", _handle)  # noqa: B010 (a plain assignment hides it from mypy)
