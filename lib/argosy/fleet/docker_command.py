"""The command line of `docker`: its options as pflag reads them, and what stands after. Pure.

`--name=web`, `--name web`, `-p 80:80`, `-p80:80`, `-itd`, `-dp 80:80`, `--rm=false`; `--` or the first other word ends
the options. Before 1.0 long options had one dash (`-name web`, `-rm`): those are understood, too.
Source: https://pkg.go.dev/github.com/spf13/pflag#hdr-Command_line_flag_syntax and
https://github.com/docker/cli/blob/v20.10.24/cli/command/container/opts.go
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argosy.fleet.command_line import Word

SHORT = {
    "a": "attach",
    "c": "cpu-shares",
    "d": "detach",
    "e": "env",
    "h": "hostname",
    "i": "interactive",
    "l": "label",
    "m": "memory",
    "P": "publish-all",
    "p": "publish",
    "q": "quiet",
    "t": "tty",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}
"""Of `docker run` and `docker create`."""

_FLAGS = """
    detach disable-content-trust help init interactive no-healthcheck oom-kill-disable privileged publish-all quiet
    read-only rm sig-proxy tty
"""
FLAGS = frozenset(_FLAGS.split())
"""Those that take no value, unless it is glued by `=`."""

_VALUED = """
    add-host attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile cpu-count
    cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset cpuset-cpus cpuset-mems
    detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops dns
    dns-opt dns-option dns-search domainname entrypoint env env-file expose gpus group-add health-cmd health-interval
    health-retries health-start-period health-timeout hostname ip ip6 ipc isolation kernel-memory label label-file link
    link-local-ip log-driver log-opt lxc-conf mac-address memory memory-reservation memory-swap memory-swappiness mount
    name net net-alias network network-alias oom-score-adj pid pids-limit platform publish pull restart runtime
    security-opt shm-size stop-signal stop-timeout storage-opt sysctl tmpfs ulimit user userns uts volume volume-driver
    volumes-from workdir
"""
VALUED = frozenset(_VALUED.split())

_GLOBAL_SHORT = {"D": "debug", "H": "host", "l": "log-level", "c": "context"}
_GLOBAL_FLAGS = frozenset(("debug", "tls", "tlsverify"))
_GLOBAL_VALUED = frozenset(("config", "context", "host", "log-level", "tlscacert", "tlscert", "tlskey"))

_OLD = "cidfile dns entrypoint expose link lxc-conf name net privileged rm sig-proxy volumes-from"
OLD = frozenset(_OLD.split())
"""Long options that were written with one dash, and are no row of short ones (as `-ip` is)."""

ALIASES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option", "cpuset": "cpuset-cpus"}


@dataclass(frozen=True, slots=True)
class Option:
    """`name`: the long one, without dashes; `value`: `true` or `false` for one that takes none."""

    name: str
    value: str
    line: int

    @property
    def on(self) -> bool:
        return self.value in ("1", "t", "T", "true", "TRUE", "True")


@dataclass(frozen=True, slots=True)
class Container:
    """A `docker run` or `docker create`: `image`, and the words of its `command`."""

    options: tuple[Option, ...]
    image: Word
    command: tuple[Word, ...]
    line: int

    @property
    def name(self) -> str:
        return next((it.value for it in reversed(self.options) if it.name == "name"), "")


class BadCommand(ValueError):
    """What Docker itself would refuse: `line`, and why."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(reason)


def docker_words(words: Sequence[Word]) -> tuple[str, list[Word]]:
    """Return the subcommand, such as `run`, of what stands after `docker`, and the words after it.

    `docker container run` is `docker run`. Raises BadCommand, also for an engine that is not the machine's own.
    """
    options, rest = split_options(words, _GLOBAL_SHORT, _GLOBAL_FLAGS, _GLOBAL_VALUED)
    for option in options:
        if option.name in ("host", "context") and not option.value.startswith("unix://"):
            raise BadCommand(option.line, f"it asks the engine {option.value!r}, not the machine's own")
    if rest and rest[0].text in ("container", "image"):
        del rest[0]
    return (rest[0].text, rest[1:]) if rest else ("", [])


def parse_container(words: Sequence[Word], line: int) -> Container:
    """Return what stands after `docker run`. Raises BadCommand."""
    options, rest = split_options(words, SHORT, FLAGS, VALUED)
    if not rest:
        raise BadCommand(line, "docker run names no image")
    return Container(tuple(options), rest[0], tuple(rest[1:]), line)


def split_options(
    words: Sequence[Word], short: Mapping[str, str], flags: frozenset[str], valued: frozenset[str]
) -> tuple[list[Option], list[Word]]:
    """Return the options at the beginning of `words`, and the words after them. Raises BadCommand.

    `short`: letter -> long name; `flags`: options without a value; `valued`: options with one.
    """
    found: list[Option] = []
    rest = list(words)
    while rest and len(rest[0].text) > 1 and rest[0].text[0] == "-":
        word = rest.pop(0)
        if word.text == "--":
            break
        name, equals, value = word.text.lstrip("-").partition("=")
        if word.text.startswith("--") or name in OLD & (flags | valued):
            found.append(_long(word, name, value if equals else None, rest, flags, valued))
        else:
            found += _short(word, rest, short, flags)
    return found, rest


def _long(
    word: Word, name: str, value: str | None, rest: list[Word], flags: frozenset[str], valued: frozenset[str]
) -> Option:
    if name in flags:
        return Option(name, "true" if value is None else value, word.line)
    if name not in valued:
        raise BadCommand(word.line, f"docker knows no option --{name}")
    return Option(ALIASES.get(name, name), _next(word, f"--{name}", rest) if value is None else value, word.line)


def _short(word: Word, rest: list[Word], short: Mapping[str, str], flags: frozenset[str]) -> list[Option]:
    """Return the options of a word such as `-itd`, `-p80:80` or `-dp`."""
    found: list[Option] = []
    letters = word.text[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in short:
            raise BadCommand(word.line, f"docker knows no option -{letter} (in {word.text!r})")
        name = short[letter]
        if name not in flags:
            value = letters.removeprefix("=") if letters else _next(word, f"-{letter}", rest)
            return [*found, Option(name, value, word.line)]
        if letters.startswith("="):
            return [*found, Option(name, letters[1:], word.line)]
        found.append(Option(name, "true", word.line))
    return found


def _next(word: Word, option: str, rest: list[Word]) -> str:
    if not rest:
        raise BadCommand(word.line, f"docker's option {option} has no value")
    return rest.pop(0).text
