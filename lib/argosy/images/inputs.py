"""Pure. What an image is made of, in one digest: who builds from the same inputs need not build, nor make a version.

Inputs are the build context as it is sent (paths, types, modes, link targets, bytes), the name of the Dockerfile, the
labels, the kind of machine, the values of build arguments, the packages that are fetched, what the images of ours stand
on that it needs, and the external images that the Dockerfile names. What a command fetches while it builds is none of
them, nor is which builder it is, or a secret.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from argosy.images.dockerfile import STANDARD, Instruction, parse_dockerfile

SCRATCH = "scratch"
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
        instruction.keyword == "ARG" and any(word.partition("=")[0] == argument for word in instruction.words)
        for instruction in parse_dockerfile(dockerfile).instructions
    )


def parse_bases(dockerfile: str, arguments: Mapping[str, str], others: Mapping[str, str] | None = None) -> Bases:
    """Return what a Dockerfile stands on. `arguments`: the images of ours, by build argument; `others`: values of other
    build arguments.

    What is not understood is not known: then the image is built. Which frontend of the standard language reads it is no
    input: the classic builder reads it without one.
    """
    parsed = parse_dockerfile(dockerfile)
    if parsed.syntax and not STANDARD.fullmatch(parsed.syntax):
        return Bases((), known=False)
    stages: set[str] = set()
    found: set[str] = set()
    values: dict[str, str] = {**arguments, **(others or {})}
    began = False
    for instruction in parsed.instructions:
        words = instruction.words
        if instruction.keyword == "ARG" and not began:
            for word in words:
                name, _, default = word.partition("=")
                values.setdefault(name, default.strip("\"'"))
        elif instruction.keyword == "FROM":
            image = _filled(words[0] if words else "", values)
            if not image:
                return Bases((), known=False)
            if image.lower() not in stages:
                found.add(image)
            if len(words) > 2 and words[-2].upper() == "AS":
                stages.add(words[-1].lower())
            began = True
        sources = _sources(instruction)
        if any("$" in source for source in sources) or _fetches(instruction):
            return Bases((), known=False)
        found.update(source for source in sources if not source.isdecimal() and source.lower() not in stages)
    return Bases(tuple(sorted(found - {SCRATCH, *arguments.values()})), known=began)


def _sources(instruction: Instruction) -> list[str]:
    """Return the stages and images that an instruction takes files from."""
    if instruction.keyword == "COPY":
        return instruction.values("from")
    if instruction.keyword != "RUN":
        return []
    options = [option.partition("=") for mount in instruction.values("mount") for option in mount.split(",")]
    return [value for name, _, value in options if name.lower() == "from"]


def _fetches(instruction: Instruction) -> bool:
    """Return whether an instruction adds a file of the web that may be another tomorrow."""
    remote = any(_REMOTE.match(word) for word in instruction.words)
    return instruction.keyword in ("COPY", "ADD") and remote and not instruction.values("checksum")


def inputs_digest(
    context: str,
    dockerfile: str,
    *,
    packages: str,
    needs: Mapping[str, str],
    bases: Mapping[str, str],
    labels: Mapping[str, str],
    machine: str,
    arguments: Mapping[str, str] | None = None,
) -> str:
    """Return the digest of all inputs, `sha256:...`; empty when one of them is not known.

    `context`: its digest; `packages`: what names those of the wheelhouse; `needs`: by build argument what the image of
    ours is made of; `bases`: external images by name, each with its digest; `machine`: such as amd64; `arguments`: the
    other build arguments with their values. Which builder it was is no input: both make the same of them.
    """
    if not all([*needs.values(), *bases.values(), machine]):
        return ""
    parts = [context, dockerfile, packages, dict(needs), dict(bases), dict(labels), machine]
    parts += [dict(arguments)] if arguments else []
    return f"sha256:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


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
