"""Who is compared, and how one run of each is timed.

A contender that is a library runs in a process of its own (`fanout_worker.py`); one that is a program is run as it is.
Every run checks that all endpoints answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.endpoints import PARALLEL, WORD, Endpoints

ROOT = Path(__file__).resolve().parents[1]
WARM_ROUNDS = 5
RUN_SECONDS = 600

ANSIBLE = "ansible-core==2.19.14"
PYINFRA = "pyinfra==3.10.0"

# Whoever is installed by pip has its bytecode; without this variable our own sources get theirs too.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Timing:
    """Seconds of one run. `process`: a fresh process, from its start to its end, with nothing open before;
    `cold`: connecting and running the command, `warm`: running it over open connections, both without the program's
    own start and end."""

    process: float
    cold: float
    warm: float
    peak_megabytes: float | None = None


Contender = Callable[[Endpoints], Timing]


def environment(name: str, requirement: str, folder: Path) -> Path:
    """Return the bin folder of a virtual environment with exactly `requirement`, made when there is none.

    Raises subprocess.CalledProcessError where it can't be had.
    """
    path = folder / requirement.replace("==", "-")
    finished = path / "finished"
    if not finished.exists():
        print(f"bench.fanout: installing {requirement} for {name} in {path}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", path], check=True)
        subprocess.run([path / "bin" / "pip", "install", "-qq", requirement], check=True, stdout=sys.stderr)
        finished.touch()
    return path / "bin"


def library(name: str, python: Path, rounds: int = WARM_ROUNDS) -> Contender:
    """Return a contender that is a library; `python` has it installed."""

    def run(places: Endpoints) -> Timing:
        argv = [str(python), "-m", "bench.fanout_worker", name, str(places.save()), str(rounds)]
        started = time.perf_counter()
        said = _checked(argv)
        whole = time.perf_counter() - started
        told = json.loads(said)
        warm = sum(told["warm"]) / len(told["warm"])
        return Timing(whole - sum(told["warm"]), told["cold"], warm, told["peak_megabytes"])

    return run


def xargs(places: Endpoints) -> Timing:
    """OpenSSH, started by xargs; warm: with a ControlMaster open for each endpoint.

    Nothing is taken off for its start: starting an ssh for each endpoint is how it works.
    """
    with _control_sockets() as folder:
        base = ["xargs", "-P", str(PARALLEL), "-I{}", "ssh", *places.ssh_options()]
        master = ["-o", f"ControlPath={folder}/%C"]
        cold = _timed([*base, "{}", "echo", WORD], places)
        _timed([*base, *master, "-o", "ControlMaster=auto", "-o", "ControlPersist=300", "{}", "echo", WORD], places)
        return Timing(cold, cold, _timed([*base, *master, "{}", "echo", WORD], places))


def ansible(bin_folder: Path) -> Contender:
    """Return Ansible at its fastest: the raw module, pipelining, as many forks as we have threads.

    Warm: its own ControlPersist connections are open. What its start and end take is what it needs for one endpoint
    whose connection is open, a little more than the truth.
    """

    def run(places: Endpoints) -> Timing:
        with _control_sockets() as sockets:
            config = Path(places.folder) / "ansible.cfg"
            inventory = Path(places.folder) / "inventory"
            inventory.write_text("".join(f"{address}\n" for address in places.addresses))
            options = " ".join(places.ssh_options())
            config.write_text(
                f"[defaults]\ninventory={inventory}\nforks={PARALLEL}\nlocal_tmp={places.folder}/ansible\n"
                f"host_key_checking=True\n[ssh_connection]\npipelining=True\ncontrol_path_dir={sockets}\n"
                f"ssh_args={options} -o ControlMaster=auto -o ControlPersist=300\n"
            )
            environ = {"ANSIBLE_CONFIG": str(config), "ANSIBLE_HOME": f"{places.folder}/ansible"}
            module = ["-m", "raw", "-a", f"echo {WORD}"]
            argv = [str(bin_folder / "ansible"), "all", *module]
            cold, warm = _timed(argv, places, environ), _timed(argv, places, environ)
            one = replace(places, addresses=places.addresses[:1])
            itself = _timed([str(bin_folder / "ansible"), one.addresses[0], *module], one, environ)
            return Timing(cold, cold - itself, warm - itself)

    return run


@contextlib.contextmanager
def _control_sockets() -> Iterator[Path]:
    """Give a folder for ssh's control sockets, and end the connections behind them afterwards."""
    # Its path is short: a socket's may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="argosy-cm-") as folder:
        try:
            yield Path(folder)
        finally:
            for socket in Path(folder).iterdir():
                subprocess.run(
                    ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "none"],
                    check=False,
                    capture_output=True,
                )


def _timed(argv: list[str], places: Endpoints, environ: dict[str, str] | None = None) -> float:
    addresses = "".join(f"{address}\n" for address in places.addresses)
    started = time.perf_counter()
    said = _checked(argv, addresses, environ)
    seconds = time.perf_counter() - started
    answered = said.splitlines().count(WORD)
    if answered != len(places.addresses):
        raise SystemExit(f"{argv[0]}: only {answered} of {len(places.addresses)} endpoints answered")
    return seconds


def _checked(argv: list[str], stdin: str = "", environ: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        argv,
        input=stdin,
        env={**_ENVIRONMENT, **(environ or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{Path(argv[0]).name} ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


def contenders(state: Path) -> tuple[dict[str, Contender], dict[str, str]]:
    """Return who can take part, ours first, and why the others can't."""
    taking_part: dict[str, Contender] = {
        "ours": library("ours", Path(sys.executable)),
        "Fabric ThreadingGroup": library("fabric", Path(sys.executable)),
    }
    missing: dict[str, str] = {}
    if shutil.which("xargs"):
        taking_part["OpenSSH + xargs"] = xargs
    for name, requirement in (("Ansible", ANSIBLE), ("pyinfra", PYINFRA)):
        try:
            bin_folder = environment(name, requirement, state)
        except (subprocess.CalledProcessError, OSError) as error:
            missing[name] = f"{requirement} could not be installed ({error})"
            continue
        taking_part[name] = ansible(bin_folder) if name == "Ansible" else library("pyinfra", bin_folder / "python")
    return taking_part, missing
