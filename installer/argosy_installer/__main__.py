"""`install`, `pull`, `status [--json]`, or `facts`."""

from __future__ import annotations

import os
import sys

from argosy_installer import facts, install, pulling, status

EXIT_USAGE = 64


def main(words: list[str]) -> int:
    if words == ["install"]:
        return install.run(os.environ)
    if words == ["pull"]:
        return pulling.run(os.environ)
    if words in (["status"], ["status", "--json"]):
        return status.run(os.environ, as_json="--json" in words)
    if words == ["facts"]:
        return facts.run(os.environ)
    print("usage: install | pull | status [--json] | facts", file=sys.stderr)
    return EXIT_USAGE


sys.exit(main(sys.argv[1:]))
