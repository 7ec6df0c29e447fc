"""`install`, or `status [--json]`."""

from __future__ import annotations

import os
import sys

from argosy_installer import install, status

EXIT_USAGE = 64


def main(words: list[str]) -> int:
    if words == ["install"]:
        return install.run(os.environ)
    if words in (["status"], ["status", "--json"]):
        return status.run(os.environ, as_json="--json" in words)
    print("usage: install | status [--json]", file=sys.stderr)
    return EXIT_USAGE


sys.exit(main(sys.argv[1:]))
