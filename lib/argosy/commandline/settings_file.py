"""What a file of settings says, invoke.yaml first of all; Invoke gives up with a traceback on one that is no YAML, or
holds something other than keys and values (invoke 2.2.1, its Config)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke import util
from invoke.config import Config

from argosy.errors import ConfigError

yaml: Any = vars(util)["yaml"]
"""Invoke's own, which it brings along, untyped."""
_invoke_merge_file = Config._merge_file


def load(_config: Any, path: str) -> dict[str, Any]:
    """Return what the YAML file holds, as Invoke's Config does, which this stands for. Raises ConfigError."""
    try:
        found = yaml.safe_load(Path(path).read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else path
        raise ConfigError(f"this is no YAML: {getattr(error, 'problem', None) or error}", where) from None
    if not isinstance(found, Mapping):
        if found is None:
            return {}
        raise ConfigError("it must hold keys and values: docs/configuration.md has them", path)
    return dict(found)


def merge(config: Any, name: str, title: str) -> None:
    """Merge the file `name` into what `config` holds, as Config._merge_file does. A section with nothing below it is
    one without keys. Raises ConfigError for a key that holds a section in one place and a value in the other."""
    data = getattr(config, f"_{name}")
    if isinstance(data, dict):
        _fit(config._config, data, ())
    _invoke_merge_file(config, name, title)


def _fit(base: Mapping[str, Any], data: dict[str, Any], above: tuple[str, ...]) -> None:
    for key in base.keys() & data.keys():
        path = (*above, str(key))
        if isinstance(base[key], Mapping) and data[key] is None:
            data[key] = {}
        elif isinstance(base[key], Mapping) != isinstance(data[key], dict):
            wanted = "keys with values, such as {key: value}" if isinstance(base[key], Mapping) else "one value"
            raise ConfigError(f"it must be {wanted}", ".".join(path))
        elif isinstance(base[key], Mapping):
            _fit(base[key], data[key], path)
