"""Pure. The flags that make a container a machine: systemd as PID 1 with a Docker engine of its own.

Tried on cgroup v1 without CAP_SYS_RESOURCE (where `--privileged` is refused) and, as kind does it, on cgroup v2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy.errors import Refused

INIT = ("/sbin/init",)
HOST_KEYS = ("sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub")
STOP_SIGNAL = "SIGRTMIN+3"
SEED_FOLDER = "/var/lib/cloud/seed/nocloud"
NESTED_ENGINE_FOLDER = "/var/lib/docker"

CAPABILITIES = (
    "AUDIT_CONTROL", "AUDIT_WRITE", "SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_CHROOT", "SYS_NICE",
    "MKNOD", "DAC_READ_SEARCH", "IPC_LOCK", "SYSLOG", "SETFCAP", "LINUX_IMMUTABLE",
)  # fmt: skip
UNCONFINED = tuple(f"--security-opt={option}" for option in ("seccomp=unconfined", "apparmor=unconfined"))


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What was observed of the engine that carries machines.

    `rootless`, `desktop`: the engine runs in a user's namespace, or in a VM of Docker
    Desktop's; `free_bytes`: on the disk of its data.
    """

    rootless: bool = False
    desktop: bool = False
    remote: bool = False
    free_bytes: int | None = None


def refuse_unfit(facts: EngineFacts) -> None:
    """Raise Refused when machines made as containers can't run on this engine or can't be reached from here."""
    alternative = "use another engine, or local.provider virtualbox or libvirt"
    if facts.desktop:
        raise Refused(
            f"the Docker engine is Docker Desktop, whose containers can't be reached by address: {alternative}"
        )
    if facts.remote:
        raise Refused(
            f"DOCKER_HOST names an engine elsewhere, whose containers can't be reached by address: {alternative}"
        )
    if facts.rootless:
        raise Refused(f"the Docker engine is rootless, and machines need devices and cgroups: {alternative}")


def cgroup_version(info: Mapping[str, object]) -> int:
    """Return 1 or 2, by what the engine says of itself (GET /info)."""
    return int(str(info.get("CgroupVersion") or "1"))


def machine_flags(cgroup_version: int) -> list[str]:
    """Return the flags of `docker run` that every machine gets, whatever its name and its maker."""
    return [
        *(_cgroup_v2() if cgroup_version >= 2 else _cgroup_v1()),
        *UNCONFINED,
        "--security-opt=systempaths=unconfined",
        "--tmpfs=/run",
        "--tmpfs=/run/lock",
        "--tmpfs=/tmp",
        f"--stop-signal={STOP_SIGNAL}",
        "--env=container=docker",
        # A reboot from inside is one; `docker stop` and a kill still keep it down.
        "--restart=unless-stopped",
        # `vagrant ssh` refuses a container without an address on the engine's default bridge unless port 22 is
        # published; the port is the engine's choice, and not the one used.
        "--publish=127.0.0.1::22",
    ]


def _cgroup_v1() -> list[str]:
    """cgroupns=host: with a private one nested `docker run` fails on v1."""
    return [
        "--cgroupns=host",
        *(f"--cap-add={capability}" for capability in CAPABILITIES),
        "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    ]


def _cgroup_v2() -> list[str]:
    return ["--privileged", "--cgroupns=private"]


def own_flags(
    *, name: str, network: str, address: str, volume: str, seed: Path, labels: Mapping[str, str]
) -> list[str]:
    """Return the flags of one machine. It sits on one network only, so its address is there before systemd is."""
    return [
        f"--hostname={name}",
        f"--network={network}",
        f"--ip={address}",
        f"--volume={volume}:{NESTED_ENGINE_FOLDER}",
        f"--volume={seed}:{SEED_FOLDER}:ro",
        *(f"--label={key}={value}" for key, value in labels.items()),
    ]


def run_argv(engine: str, name: str, image: str, flags: Sequence[str]) -> list[str]:
    """Return what makes a machine and boots it: the very command by which Vagrant does."""
    return ["docker", "--host", engine, "run", "--detach", "--pull=never", f"--name={name}", *flags, image, *INIT]


def parse_host_keys(text: str) -> Sequence[str]:
    """Return `TYPE BASE64` of each line of ssh_host_*_key.pub files, without comments."""
    words = (line.split() for line in text.splitlines())
    return [f"{parts[0]} {parts[1]}" for parts in words if len(parts) >= 2 and parts[0].startswith(("ssh-", "ecdsa-"))]
