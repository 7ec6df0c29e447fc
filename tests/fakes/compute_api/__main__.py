"""Run the pretended API, and a folder to try the gce tasks in: python -m compute_api FOLDER [--port N]"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from compute_api.project import pretended_project


def main() -> None:
    parser = argparse.ArgumentParser(prog="compute_api", description=__doc__)
    parser.add_argument("folder", type=Path, help="where tasks.py and invoke.yaml are written")
    parser.add_argument("--port", type=int, default=0, help="of the API, on loopback; a free one when left out")
    options = parser.parse_args()
    with pretended_project(options.folder.resolve(), options.port) as fake:
        print(f"{fake.url} pretends to be the Compute API; Ctrl-C ends it. In another terminal:", flush=True)
        print(f"  cd {options.folder.resolve()} && inv gce.create core core1 core2 core3", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


main()
