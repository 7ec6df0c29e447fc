"""Pure. What an image is made of, in one digest: who builds from the same inputs need not build, nor make a version.

Inputs are the build context as it is sent (paths, types, modes, link targets, bytes), the name of the Dockerfile, the
labels, the kind of machine, the packages that are fetched, what the images of ours stand on that it needs, and the
external images that the Dockerfile names. What a command fetches while it builds is none of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SCRATCH = "scratch"
_CONTINUED = re.compile(r"\\[ \t]*\n")
_DIRECTIVE = re.compile(r"^#[ \t]*(escape|syntax)[ \t]*=", re.IGNORECASE | re.MULTILINE)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^${}]*))?\})")
_REMOTE = re.compile(r"(https?|ftp|git|ssh)://|git@")


@dataclass(frozen=True, slots=True)
class Bases:
    """`external`: the images that a Dockerfile names and that are not ours, sorted; `known`: it tells all of its
    inputs; a file of the web that it adds can't be known."""

    external: tuple[str, ...]
    known: bool = True


def declares(dockerfile: str, argument: str) -> bool:
    """Return whether a Dockerfile takes this build argument."""
    return any(
        instruction == "ARG" and any(word.partition("=")[0] == argument for word in words)
        for instruction, words in _instructions(dockerfile)
    )


def parse_bases(dockerfile: str, arguments: Mapping[str, str], others: Mapping[str, str] | None = None) -> Bases:
    """Return what a Dockerfile stands on. `arguments`: the images of ours, by build argument; `others`: values of other
    build arguments.

    https://docs.docker.com/reference/dockerfile/. What is not understood is not known: then the image is built.
    """
    if _DIRECTIVE.search(dockerfile):
        return Bases((), known=False)
    stages: set[str] = set()
    found: set[str] = set()
    values: dict[str, str] = {**arguments, **(others or {})}
    began = False
    for instruction, words in _instructions(dockerfile):
        if instruction == "ARG" and not began:
            for word in words:
                name, _, default = word.partition("=")
                values.setdefault(name, default.strip("\"'"))
        elif instruction == "FROM":
            image = _filled(next((word for word in words if not word.startswith("--")), ""), values)
            if not image:
                return Bases((), known=False)
            if image.lower() not in stages:
                found.add(image)
            if len(words) > 2 and words[-2].upper() == "AS":
                stages.add(words[-1].lower())
            began = True
        elif instruction in ("COPY", "ADD"):
            source = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), "")
            if "$" in source or any(_REMOTE.match(word) for word in words):
                return Bases((), known=False)
            if source and not source.isdecimal() and source.lower() not in stages:
                found.add(source)
    return Bases(tuple(sorted(found - {SCRATCH, *arguments.values()})), known=began)


def inputs_digest(
    context: str,
    dockerfile: str,
    *,
    packages: str,
    needs: Mapping[str, str],
    bases: Mapping[str, str],
    labels: Mapping[str, str],
    machine: str,
) -> str:
    """Return the digest of all inputs, `sha256:...`; empty when one of them is not known.

    `context`: its digest; `packages`: what names those of the wheelhouse; `needs`: by build argument what the image of
    ours is made of; `bases`: external images by name, each with its digest; `machine`: such as amd64.
    """
    if not all([*needs.values(), *bases.values(), machine]):
        return ""
    parts = [context, dockerfile, packages, dict(needs), dict(bases), dict(labels), machine]
    return f"sha256:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


def _instructions(dockerfile: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each instruction in upper case with its words."""
    lines = [line for line in dockerfile.replace("\r\n", "\n").split("\n") if not line.lstrip().startswith("#")]
    for line in _CONTINUED.sub(" ", "\n".join(lines)).split("\n"):
        words = line.split()
        if words:
            yield words[0].upper(), words[1:]


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced; empty when one has no value, or is written in another way."""
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        filled = values.get(found[1] or found[2]) or found[3] or ""
        unknown = unknown or not filled
        return filled

    filled = _VARIABLE.sub(value, text)
    return "" if unknown or "$" in filled else filled
