"""Settings from the environment: INVOKE_SSH_USER, and what Invoke makes of a variable that it can't use.

Invoke names a variable for every key that there is, and gives up with a traceback when two keys have one name, such as
HTTP_PROXY and http_proxy of a service, whether or not somebody has set it (invoke 2.2.1, its Environment).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from invoke.exceptions import UncastableEnvVar

from argosy.errors import ConfigError

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0", "")


def load(environment: Any) -> dict[str, Any]:
    """Return what the environment sets, as Invoke's Environment.load does, which this stands for.

    Raises ConfigError for a variable that could be several keys, or whose text can't be what its key holds.
    """
    keys: dict[str, list[Sequence[str]]] = {}
    for path in _leaves(environment._config, ()):
        keys.setdefault(f"{environment._prefix or ''}{'_'.join(path).upper()}", []).append(path)
    for variable in keys.keys() & os.environ.keys():
        first, *others = keys[variable]
        if others:
            raise ConfigError(f"it could be {' or '.join('.'.join(path) for path in keys[variable])}", variable)
        try:
            environment._path_set(first, _spelled(environment._path_get(first), variable))
        except UncastableEnvVar:
            raise ConfigError("the environment holds no lists: set it in invoke.yaml", variable) from None
        except ValueError:
            raise ConfigError(f"{os.environ[variable][:40]!r} is no number", variable) from None
    data: dict[str, Any] = environment.data
    return data


def _spelled(there: Any, variable: str) -> str:
    """Return the variable's text, in Invoke's words where its key holds true or false: to it `false` is true."""
    text = os.environ[variable]
    if not isinstance(there, bool):
        return text
    word = text.strip().lower()
    if word not in (*_TRUE, *_FALSE):
        raise ConfigError(f"{text!r} is neither true nor false", variable)
    return "1" if word in _TRUE else "0"


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the path of each value that is none of keys and values."""
    if isinstance(value, Mapping) or (hasattr(value, "keys") and hasattr(value, "__getitem__")):
        for key in list(value):
            yield from _leaves(value[key], (*path, key))
    elif all(isinstance(key, str) for key in path):
        yield path
