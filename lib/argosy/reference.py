"""The page of all tasks, written from the tasks themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from invoke.collection import Collection
from invoke.parser.argument import Argument
from invoke.parser.context import to_flag
from invoke.tasks import Task

from argosy.tasking import Task as OurTask

AnyTask = Task[Callable[..., Any]]

HEAD = """\
# The tasks

Written by `inv docs` from the tasks themselves; `inv --help TASK` shows the same.
"""


def render_reference(namespace: Collection) -> str:
    """Return the Markdown page of every task in `namespace`, in the order of their names."""
    sections = [HEAD]
    for name, collection in sorted(namespace.collections.items()):
        sections.append(f"## {name}\n")
        tasks = sorted((str(task_name), task) for task_name, task in collection.tasks.items())
        sections += ["\n".join(_section(f"{name}.{collection.transform(task)}", body)) for task, body in tasks]
    return "\n".join(sections)


def _section(name: str, task: AnyTask) -> Iterator[str]:
    arguments = task.get_arguments()
    yield f"### `{' '.join(['inv', name, *_words(task, arguments)])}`\n"
    summary, _, rest = inspect.cleandoc(task.__doc__ or "").partition("\n\n")
    yield f"{summary}\n"
    prose, _, examples = rest.rpartition("Example")
    if prose.strip():
        yield f"{prose.strip()}\n"
    if examples:
        yield "\n".join(line for line in examples.splitlines()[1:] or [f"    {examples.partition(':')[2].strip()}"])
        yield ""
    flags = [argument for argument in arguments if not _positional(argument) and argument.name != _words_of(task)]
    if flags:
        yield "| flag | |\n|---|---|"
        yield from (f"| `{to_flag(argument.names[0])}` | {argument.help} |" for argument in flags)
        yield ""


def _words(task: AnyTask, arguments: Sequence[Argument]) -> list[str]:
    """Return how the positional words stand in a call: SERVICE [MACHINE], [MACHINES...]."""
    words = [(argument.name or "").upper() for argument in arguments if _positional(argument)]
    several = _words_of(task)
    if isinstance(task, OurTask) and several:
        words.append(f"[{several.upper()}]" if task.words_max == 1 else f"[{several.upper()}...]")
    return words


def _positional(argument: Argument) -> bool:
    # A list is never lacking for Invoke, so it is given by its flag.
    return bool(argument.positional) and argument.kind is not list


def _words_of(task: AnyTask) -> str:
    return task.words if isinstance(task, OurTask) else ""
