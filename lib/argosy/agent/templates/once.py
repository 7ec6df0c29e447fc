"""`python3 -m argosy.agent templates --once`: make each file what it must be now, and say what came of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from argosy.agent import log
from argosy.agent.options import parse_options
from argosy.agent.store import open_store
from argosy.agent.templates.keeping import Keeper, Outcome
from argosy.agent.templates.loading import load
from argosy.agent.templates.watching import facts, render_once
from argosy.errors import ArgosyError
from argosy.etcd.values import Entry

EXIT_FAILED = 1


def main(words: Sequence[str]) -> int:
    """Return 0 when all is as it should be, 1 when something is not. `words`: templates --once."""
    parser = argparse.ArgumentParser(prog="argosy.agent templates", description=__doc__)
    parser.add_argument("--once", action="store_true", required=True, help="the running agent does it all the time")
    parser.parse_args(words[1:])
    log.start()
    try:
        outcomes = _once(os.environ)
    except ArgosyError as error:
        print(f"nothing was rendered: {error}", file=sys.stderr)
        return EXIT_FAILED
    for name, outcome in outcomes.items():
        print(_told(name, outcome), file=sys.stderr if outcome.reasons else sys.stdout)
    return EXIT_FAILED if any(outcome.reasons for outcome in outcomes.values()) else 0


def _once(environment: Mapping[str, str]) -> dict[str, Outcome]:
    options = parse_options(environment)
    store = open_store(options)
    try:
        entries: dict[str, Entry] = {entry.key: entry for entry in store.get_prefix("/").entries}
    finally:
        store.close()
    options.paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    loaded = load(options.templates, options.paths.files, facts(options))
    return render_once(loaded, Keeper(options.paths.state), entries)


def _told(name: str, outcome: Outcome) -> str:
    if outcome.reasons:
        return outcome.reason
    done = [word for word, yes in (("written", outcome.changed), ("reloaded", outcome.reloaded)) if yes]
    return f"{name}: {' and '.join(done) or 'as it should be'}"
