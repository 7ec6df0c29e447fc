"""Pure. Template resources: which files of the system are made of which keys, and how.

    conf.d/NAME.toml      one resource: `[template]` with src, dest, keys, ..., as confd has it (docs/templates.md);
                          it may be in a folder below conf.d
    templates/SRC         Jinja2, named by the `src` of resources and by each other's include and import

Source of the format: https://github.com/kelseyhightower/confd/blob/master/docs/template-resources.md
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from argosy.errors import ConfigError, nearest

RESOURCES, TEMPLATES = "conf.d/", "templates/"
DEFAULT_MODE = "0644"
UNFOLLOWED = ("/cluster/", "/routers/")
"""What the agent keeps no copy of: it changes all the time, and is nobody's setting."""

_TYPES: dict[str, type] = {
    "src": str,
    "dest": str,
    "keys": list,
    "prefix": str,
    "owner": str,
    "group": str,
    "uid": int,
    "gid": int,
    "mode": str,
    "check_cmd": str,
    "reload_cmd": str,
}
_TYPE_WORDS = {str: 'a string, such as "..."', list: 'a list of strings, such as ["/settings"]', int: "a number"}
_REQUIRED = ("src", "dest", "keys")
_PATH = re.compile(r"[A-Za-z0-9._@+=,:-]+(/[A-Za-z0-9._@+=,:-]+)*")
_MODE = re.compile(r"0?[0-7]{3}")
_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One file that is kept up to date.

    `name`: its TOML file, such as conf.d/frontend.toml. `folder`, `path`: the file is FOLDER/PATH, and nothing outside
    FOLDER may be touched. `prefix` (without a slash at its end): what the template's keys leave out. `keys`: those and
    all below them, as they are in etcd. `owner`, `group`: a name, a number, or empty for the agent's own.
    """

    name: str
    src: str
    folder: PurePosixPath
    path: PurePosixPath
    prefix: str
    keys: tuple[str, ...]
    owner: str | int
    group: str | int
    mode: int
    check_cmd: str
    reload_cmd: str

    @property
    def dest(self) -> PurePosixPath:
        return self.folder / self.path

    def concerns(self, key: str) -> bool:
        """Return whether the file is made of `key`: it is one of `keys`, or below one."""
        return any(key == name or key.startswith(f"{name}/") for name in self.keys)

    def command(self, command: str, src: str = "") -> str:
        """Return a check_cmd or reload_cmd with the staged file's path and `dest` put in."""
        values = {".src": src, "src": src, ".dest": str(self.dest), "dest": str(self.dest)}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], command)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why `resource` (its TOML file; empty: all of them) is not as it should be. `reason`: one line."""

    resource: str
    reason: str


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """`sources`: templates by their path below templates/. `problems`: of what was left out."""

    resources: tuple[Resource, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def parse_set(files: Mapping[str, bytes], folder: PurePosixPath, where: str = "") -> ResourceSet:
    """Return the resources in `files` (path -> content); a bad one is a problem, and spoils no other.

    `folder`: the one that the files may be in, and where a relative `dest` begins. `where`: what to put before a path
    in messages. Of several resources with one dest none is taken: nobody could say whose file it is.
    """
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    found: list[Resource] = []
    for path, content in sorted(files.items()):
        if path.startswith(TEMPLATES):
            sources[path.removeprefix(TEMPLATES)] = content.decode(errors="surrogateescape")
    for path, content in sorted(files.items()):
        if is_resource(path):
            try:
                found.append(parse_resource(path, content, folder, sources, where))
            except ConfigError as error:
                problems.append(Problem(path, str(error)))
    times = Counter(resource.dest for resource in found)
    for resource in found:
        if times[resource.dest] > 1:
            others = [other.name for other in found if other.dest == resource.dest and other is not resource]
            reason = f"{where}{resource.name}: {', '.join(others)} makes {resource.dest}, too: give each its own dest"
            problems.append(Problem(resource.name, reason))
    kept = tuple(resource for resource in found if times[resource.dest] == 1)
    return ResourceSet(kept, sources, tuple(problems))


def is_resource(path: str) -> bool:
    """Return whether `path`, below the folder of conf.d and templates, is a resource's file."""
    hidden = any(part.startswith(".") for part in path.split("/"))
    return path.startswith(RESOURCES) and path.endswith(".toml") and not hidden


def parse_resource(
    name: str, content: bytes, folder: PurePosixPath, sources: Mapping[str, str], where: str = ""
) -> Resource:
    """Return the resource that the TOML in `content` describes. Raises ConfigError with file, line and next step."""
    try:
        text = content.decode("utf-8-sig")
        document = tomllib.loads(text)
    except UnicodeDecodeError:
        raise ConfigError("it is no UTF-8: save it as such", f"{where}{name}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"it is no TOML: {error}", f"{where}{name}") from None
    return _Reader(f"{where}{name}", text, document).resource(name, folder, sources)


class _Reader:
    """One TOML file, judged key by key."""

    def __init__(self, where: str, text: str, document: Mapping[str, Any]) -> None:
        self._where = where
        self._lines = text.splitlines()
        for key in document:
            if key != "template":
                raise self._error(key, f"unknown key {key!r}: all stands in one table, [template]")
        table = document.get("template")
        if not isinstance(table, dict):
            raise self._error("template", "there is no table [template]: begin with that line")
        self._table: dict[str, Any] = table

    def resource(self, name: str, folder: PurePosixPath, sources: Mapping[str, str]) -> Resource:
        self._check_keys()
        prefix = _normal(self._table.get("prefix", ""))
        return Resource(
            name=name,
            src=self._src(sources),
            folder=folder,
            path=self._path(folder),
            prefix=prefix,
            keys=self._keys(prefix),
            owner=self._who("owner", "uid"),
            group=self._who("group", "gid"),
            mode=self._mode(),
            check_cmd=self._command("check_cmd", (".src", "src", ".dest", "dest")),
            reload_cmd=self._command("reload_cmd", (".dest", "dest")),
        )

    def _check_keys(self) -> None:
        for key, value in self._table.items():
            if key not in _TYPES:
                known = ", ".join(_TYPES)
                raise self._error(key, f"unknown key {key!r}{nearest(key, _TYPES)}; known: {known}")
            if type(value) is not _TYPES[key]:
                raise self._error(key, f"{key} must be {_TYPE_WORDS[_TYPES[key]]}")
        for key in _REQUIRED:
            if not self._table.get(key):
                raise self._error(key, f"{key} is missing: src, dest and keys must be there")

    def _src(self, sources: Mapping[str, str]) -> str:
        src = str(self._table["src"])
        if src not in sources:
            raise self._error("src", f"no template {TEMPLATES}{src}{nearest(src, sources)}: make it, or correct src")
        return src

    def _path(self, folder: PurePosixPath) -> PurePosixPath:
        dest = str(self._table["dest"])
        if not _PATH.fullmatch(dest.removeprefix("/")) or {".", ".."} & set(dest.split("/")):
            wanted = "letters, digits and ._@+=,:- between single slashes, without . and .."
            raise self._error("dest", f"dest {dest!r} is no path that we take: {wanted}")
        path = folder / dest
        if folder not in path.parents:
            shared = f"the agent shares only {folder} with its machine; put the file below it and mount it from there"
            raise self._error("dest", f"dest {dest} is outside: {shared}")
        return path.relative_to(folder)

    def _keys(self, prefix: str) -> tuple[str, ...]:
        keys = []
        for key in self._table["keys"]:
            if not isinstance(key, str):
                raise self._error("keys", f"keys must be {_TYPE_WORDS[list]}")
            full = prefix + _normal(key)
            if any(f"{full}/".startswith(name) for name in UNFOLLOWED):
                raise self._error("keys", f"the agent does not follow {full}: nothing below {', '.join(UNFOLLOWED)}")
            keys.append(full)
        return tuple(keys)

    def _who(self, name: str, number: str) -> str | int:
        if name in self._table and number in self._table:
            raise self._error(number, f"give either {name} or {number}, not both")
        key = number if number in self._table else name
        found: str | int = self._table.get(key, "")
        if isinstance(found, str) and found.isascii() and found.isdigit():
            found = int(found) if len(found) <= len(str(2**32)) else 2**32
        if isinstance(found, int) and not 0 <= found < 2**32 - 1:
            raise self._error(key, f"{key} must be 0 or more, and below 4294967295")
        return found

    def _mode(self) -> int:
        mode = str(self._table.get("mode", DEFAULT_MODE))
        if not _MODE.fullmatch(mode):
            raise self._error("mode", f'mode {mode!r} is not octal with three digits, such as "0640"')
        return int(mode, 8)

    def _command(self, key: str, known: Sequence[str]) -> str:
        command = str(self._table.get(key, ""))
        for word in _PLACEHOLDER.findall(command):
            if word not in known:
                words = " and ".join("{{" + name + "}}" for name in known if name.startswith("."))
                raise self._error(key, f"{key} knows {words}, not {{{{{word}}}}}")
        return command

    def _error(self, key: str, message: str) -> ConfigError:
        return ConfigError(message, f"{self._where}:{self._line(key)}")

    def _line(self, key: str) -> int:
        """Return the first line that sets `key`, or else that of the table."""
        name = re.escape(key)
        for wanted in (rf"\s*[\"']?{name}[\"']?\s*[=.]", rf"\s*\[+\s*[\"']?{name}\b", r"\s*\[template\]"):
            for number, line in enumerate(self._lines, 1):
                if re.match(wanted, line):
                    return number
        return 1


def _normal(key: str) -> str:
    """Return a key with one slash before it and none after it; `/` becomes empty: everything."""
    return f"/{key.strip('/')}" if key.strip("/") else ""
