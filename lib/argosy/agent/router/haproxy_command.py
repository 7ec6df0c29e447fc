"""Ask this machine's HAProxy: `python3 -m argosy.agent haproxy show stat` and other words of its runtime API.

Source: https://docs.haproxy.org/2.6/management.html#9.3
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from argosy.agent.router.haproxy import Haproxy

RUN = Path("/run/router")


def main(words: Sequence[str], run: Path = RUN) -> int:
    """Print HAProxy's answer to `words`, the command's name first; return the exit status."""
    if len(words) < 2:
        print("which words of HAProxy's runtime API? Such as: haproxy show stat", file=sys.stderr)
        return 2
    try:
        print(Haproxy(run / "admin.sock", run / "master.sock").ask(" ".join(words[1:])), end="")
    except OSError as error:
        print(f"HAProxy does not answer in {run}: {error}", file=sys.stderr)
        return 1
    return 0
