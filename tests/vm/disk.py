"""What a virtual machine boots from: the disk of a Debian with Docker and cloud-init, and its kernel."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from roots import CACHE, system

from argosy.atomic import locked

SUITE = "trixie"
PACKAGES = (
    *(
        "linux-image-cloud-amd64",
        "initramfs-tools",
        "systemd-sysv",
        "systemd-resolved",
        "libpam-systemd",
        "udev",
        "dbus",
    ),
    *("cloud-init", "netplan.io", "openssh-server", "sudo", "e2fsprogs", "apparmor"),
    *("docker.io", "docker-cli", "iptables", "curl"),
)
GIGABYTES = 8
OWN_FILES = {"/etc/fstab": "LABEL=root / ext4 defaults 0 1\n", "/etc/machine-id": ""}
"""What the disk of no machine yet says; an empty machine-id is made at the first boot."""
LEFT_OUT = ("/etc/hostname", "/etc/resolv.conf")
"""What mmdebstrap copies from this host."""


@dataclass(frozen=True)
class Disk:
    """`image`: raw, of a whole file system labelled `root`; nobody writes to it."""

    image: Path
    kernel: Path
    initrd: Path


def disk() -> Disk:
    """Return the disk, made where it is not there yet; a minute or two. Skips where it can't be."""
    folder = system(SUITE, PACKAGES)
    image = CACHE / f"{folder.name}.img"
    with locked(CACHE / f"{image.name}.lock"):
        if not image.exists():
            _make(folder, image)
    (kernel,), (initrd,) = (folder.glob(f"boot/{name}-*") for name in ("vmlinuz", "initrd.img"))
    return Disk(image, kernel, initrd)


def _make(folder: Path, image: Path) -> None:
    """Make the image without mounting anything: mke2fs reads the folder, and debugfs what differs from it."""
    unfinished = image.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    make = ["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(folder), str(unfinished), f"{GIGABYTES}G"]
    subprocess.run(make, check=True, capture_output=True, text=True)
    commands = [f"rm {path}" for path in (*LEFT_OUT, *OWN_FILES)]
    for path, text in OWN_FILES.items():
        source = unfinished.with_suffix(f".{Path(path).name}")
        source.write_text(text)
        commands.append(f"write {source} {path}")
    lines, command = "\n".join(commands) + "\n", ["debugfs", "-w", "-f", "-", str(unfinished)]
    subprocess.run(command, input=lines, check=True, capture_output=True, text=True)
    unfinished.rename(image)
