"""What a file of settings says, invoke.yaml first of all; Invoke gives up with a traceback on one that is no YAML, or
holds something other than keys and values (invoke 2.2.1, its Config)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke import util
from invoke.config import Config

from argosy.errors import ConfigError

yaml: Any = vars(util)["yaml"]
"""Invoke's own, which it brings along, untyped."""
_invoke_merge_file = Config._merge_file


class _Twice(yaml.MarkedYAMLError):  # type: ignore[misc]
    """A key that is there twice: YAML takes the last, and says nothing of the first."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.deep_construct = True  # all of a value at once, so that one which holds itself is an error

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise _Twice(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return the value of a node. Python's own errors, of `2026-13-01` and `!!int x`, have no place in the file."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{str(node.value)[:40]!r} is no {kind}; text is put in quotes", node.start_mark
            ) from None


def load(_config: Any, path: str) -> dict[str, Any]:
    """Return what the YAML file holds, as Invoke's Config does, which this stands for. Raises ConfigError."""
    return _keyed(parse(Path(path).read_bytes(), path), path)


def load_json(_config: Any, path: str) -> dict[str, Any]:
    """Return what the JSON file holds, likewise."""

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"the key {twice!r} is there twice", path)
        return found

    try:
        return _keyed(json.loads(Path(path).read_bytes(), object_pairs_hook=once), path)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise ConfigError(f"this is no JSON: {error.msg}", where) from None
    except UnicodeDecodeError:
        raise ConfigError("this is no JSON: not in UTF-8", path) from None
    except ValueError:  # Python's limit of an integer
        raise ConfigError("this is no JSON: a number in it is too long", path) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply", path) from None


def parse(text: bytes, path: str) -> Any:
    """Return what a YAML document holds. Raises ConfigError, also where a key is twice. `path`: for messages."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else path
        said = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(said if isinstance(error, _Twice) else f"this is no YAML: {said}", where) from None
    except RecursionError:
        raise ConfigError("it is nested too deeply", path) from None


def _keyed(found: Any, path: str) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError("it must hold keys and values: docs/configuration.md has them", path)
    for key in found:
        if not isinstance(key, str):
            raise ConfigError(f"the key {key!r} is no word", path)
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
