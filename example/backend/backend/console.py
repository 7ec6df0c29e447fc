"""The backend's console: Python with the database at hand, in the running container."""

from __future__ import annotations

import code
import os

from backend.database import Database

BANNER = """Backend {version} on {machine}.
  query("SELECT ...")   rows of a statement      visits()   the counts"""


def main() -> None:
    database = Database()
    banner = BANNER.format(version=os.environ.get("ARGOSY_VERSION"), machine=os.environ.get("ARGOSY_MACHINE"))
    code.interact(banner, local={"query": database.query, "visits": database.visits}, exitmsg="")


main()
