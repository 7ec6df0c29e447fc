"""Argosy's `@task`: Invoke's own, plus positional words, one line for a number that is none and for settings that can't
be read (argosy.commandline.settings_file), chains whose tasks agree (argosy.commandline.chain), and an orderly end on
Ctrl-C and before `| head` (argosy.commandline.pipes).

Invoke fills a fixed number of positional arguments, one word each, and none that has a default. Addresses come in any
number (`inv cluster.cloud-config IP...`) and `inv local.start [N]` takes a word or none, so a parameter named in
`words=` takes the words that follow the task up to the next flag or task name, `words_max` of them at most.

Invoke has no seam for that: its parser asks an argument whether it still lacks a value before it looks whether the next
word names a task, or asks for help. `_handle` below stands before `ParseMachine.handle`, its likes before what checks a
chain and runs it, and all else is left to them (invoke 2.2.1: its parser in invoke/parser/parser.py, its Executor and
its Program; the pin in pyproject.toml and tests/unit/test_tasking.py guard it).
"""

from __future__ import annotations

import atexit
import gc
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from invoke.config import Config
from invoke.env import Environment
from invoke.executor import Executor
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext, to_flag
from invoke.parser.parser import ParseMachine
from invoke.program import Program
from invoke.tasks import Task as InvokeTask
from invoke.tasks import task as invoke_task

from argosy.commandline import chain, environment, pipes, settings_file
from argosy.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from invoke.context import Context
    from invoke.tasks import Call

    from argosy.config.loading import Settings
    from argosy.model import Machine
    from argosy.ssh.host import Hosts

# As a process ends, Python searches all that was imported for circles, several times, only to let go of it: a tenth of
# the time that a short task takes.
atexit.register(gc.freeze)

A = TypeVar("A", bound=Argument)

_UNLIMITED = 1_000_000
HELP = {
    "cluster": "the cluster's section under clusters: (or INVOKE_CLUSTER)",
    "dry_run": "print the plan, change nothing",
    "json": "print JSON",
    "yes": "don't ask",
}
"""What the flags mean that many tasks have; a task that means something else by one says so."""


class Words(Argument):
    """A list argument that also takes positional words: at most `limit` of them."""

    limit: int = _UNLIMITED


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
        super().__init__(*args, **kwargs)
        parameters = inspect.signature(self.body).parameters
        lists = {name for name, parameter in parameters.items() if str(parameter.annotation) == "list[str]"}
        self.iterable = {*self.iterable, *lists, *filter(None, [words])}
        self.help = {flag: HELP[flag] for flag in parameters if flag in HELP} | self.help
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
            raise Interrupted(f"{self.name}: interrupted; run the same command to resume") from None


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
    """Declare a task as `invoke.task` does. `words`: the parameter that takes positional words, at most `words_max`.

    The flag of a parameter that is a list[str] may be given several times.
    """
    decorate: Callable[..., Any] = partial(invoke_task, klass=Task)
    return decorate(*args, **kwargs)  # type: ignore[no-any-return]


def settings_of(context: Context, cluster: str = "") -> Settings:
    """Return the validated settings of the chosen cluster, completed by its provider; pydantic is imported only when a
    task runs."""
    from argosy.config.loading import load
    from argosy.providers import provider_of

    settings = load(context.config, cluster)
    return provider_of(settings).complete(settings)


def hosts_of(settings: Settings, machines: Sequence[str] = ()) -> Hosts:
    """Return the hosts of these machines, by name or address; of all of the cluster when none is given."""
    from argosy.ssh.host import Hosts

    return Hosts(settings, machines_of(settings, machines))


def machines_of(settings: Settings, words: Sequence[str] = ()) -> list[Machine]:
    """Return the cluster's machines that `words` (names, addresses) mean, all of them when there are none.

    The cluster is asked for those, and for host keys, that this checkout does not know; gRPC is imported only then.
    """
    from argosy import inventory
    from argosy.ssh import pins

    try:
        found = inventory.select(settings, words)
    except ConfigError:
        from argosy.cluster import machines

        return machines.select(settings, words)
    if not all(pins.pinned(settings, machine) for machine in found):
        from argosy.cluster import machines

        machines.learn_host_keys(settings)
    return found


_invoke_handle = ParseMachine.handle
_invoke_normalize = Executor.normalize


def _handle(machine: Any, token: str) -> None:
    """Give `token` to the current task's `Words` where Invoke would not know what to do with it; and let a task that
    lacks words be asked for its help."""
    context = machine.context
    if context is not None and not machine.waiting_for_flag_value:
        if _asks_for_help(machine, token):
            for argument in context.missing_positional_args:
                argument.value = ""
        elif not token.startswith("-"):
            words = next((arg for arg in context.args.values() if isinstance(arg, Words)), None)
            free = not context.missing_positional_args and token not in machine.contexts
            if words is not None and free and len(words.value) < words.limit:
                words.value = token
                return
    _invoke_handle(machine, token)


def _asks_for_help(machine: Any, token: str) -> bool:
    core = machine.initial.flags
    return token in core and core[token].name == "help" and token not in machine.context.flags


def _normalize(executor: Any, tasks: Sequence[Any]) -> list[Call]:
    """Refuse a chain whose tasks do not agree, before any of them runs."""
    calls: list[Call] = _invoke_normalize(executor, tasks)  # type: ignore[arg-type]
    executor.named = calls
    contexts = [context for context in tasks if isinstance(context, ParserContext)]
    if len(contexts) > 1 and any(isinstance(call.task, Task) for call in calls):
        wrong = chain.disagreement([_link(context) for context in contexts], _default_cluster(executor))
        if wrong:
            raise ConfigError(wrong)
    return calls


def _link(context: ParserContext) -> chain.Link:
    given = context.as_kwargs
    flags: dict[str, str | bool] = {name: given[name] for name in chain.SWITCHES if isinstance(given.get(name), bool)}
    if isinstance(given.get(chain.CLUSTER), str):
        flags[chain.CLUSTER] = given[chain.CLUSTER]
    return chain.Link(context.name or "", (context.name or "", *_given(context)), flags)


def _given(context: ParserContext) -> Iterator[str]:
    """Return the words and flags that a task was given, as somebody could have typed them."""
    for argument in filter(lambda argument: argument.got_value, context.args.values()):
        flag = to_flag(argument.names[0])
        if isinstance(argument, Words):
            yield from argument.value
        elif argument.kind is list:
            for value in argument.value:
                yield from (flag, value)
        elif argument.kind is bool:
            yield flag if argument.value else flag.replace("--", "--no-", 1)
        else:
            yield from ([] if argument.positional else [flag])
            yield str(argument.value)


def _default_cluster(executor: Any) -> str:
    """Return what a task without --cluster works on: what the configuration or INVOKE_CLUSTER says, or the only one."""
    config: Config = executor.config
    config.load_collection(executor.collection.configuration())
    config.load_shell_env()
    clusters = list(config.get("clusters") or ())
    return str(config.get("cluster") or (clusters[0] if len(clusters) == 1 else ""))


def _dedupe(executor: Any, calls: Sequence[Call]) -> list[Call]:
    """Drop what Invoke drops, a task that another one brings along again; not ours, as often as they were named."""
    kept: list[Call] = []
    for call in calls:
        named = isinstance(call.task, Task) and any(call is other for other in executor.named)
        if named or call not in kept:
            kept.append(call)
    return kept


# A plain assignment hides them from mypy.
setattr(ParseMachine, "handle", _handle)  # noqa: B010
setattr(Executor, "normalize", _normalize)  # noqa: B010
setattr(Executor, "dedupe", _dedupe)  # noqa: B010
setattr(Environment, "load", environment.load)  # noqa: B010
setattr(Config, "_load_yaml", settings_file.load)  # noqa: B010
setattr(Config, "_load_yml", settings_file.load)  # noqa: B010
setattr(Config, "_load_json", settings_file.load_json)  # noqa: B010
setattr(Config, "_merge_file", settings_file.merge)  # noqa: B010
setattr(Program, "parse_cleanup", pipes.quietly(Program.parse_cleanup))  # noqa: B010
setattr(Program, "execute", pipes.quietly(Program.execute))  # noqa: B010
