"""A virtual machine on this host: QEMU, a network card that only this host is beside, a console that is kept in a file.

With KVM where the processor has it for us, else everything is emulated (TCG), ten to twenty times slower.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from disk import Disk
from waiting import until

INTERFACE = "argosy-vm"
MAC = "52:54:00:a7:90:51"
MEGABYTES = 2048
BOOT_SECONDS = 900
NETWORK = """\
version: 2
ethernets:
  card:
    match: {{macaddress: "{mac}"}}
    addresses: ["{address}/24"]
    routes: [{{to: default, via: "{host}"}}]
    nameservers: {{addresses: ["{host}"]}}
"""


@dataclass
class VirtualMachine:
    """`folder`: its own disk (what differs from `disk`), its seed and its console."""

    folder: Path
    disk: Disk
    name: str
    address: str
    host: str

    def seed(self, user_data: str) -> None:
        """Give it what a hoster gives a new machine: cloud-init's NoCloud source."""
        seed = self.folder / "seed"
        seed.mkdir()
        (seed / "user-data").write_text(user_data)
        (seed / "meta-data").write_text(f"instance-id: {self.name}\nlocal-hostname: {self.name}\n")
        (seed / "network-config").write_text(NETWORK.format(mac=MAC, address=self.address, host=self.host))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it; what it has written stays in its folder."""
        own = self.folder / "disk.qcow2"
        if not own.exists():
            backing = ["-b", str(self.disk.image), "-F", "raw"]
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(own)], check=True)
        with (self.folder / "qemu.log").open("ab") as log:
            process = subprocess.Popen(self._argv(own), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def wait_for_ssh(self) -> None:
        """Wait until its sshd greets."""
        until(self._greets, BOOT_SECONDS, 1)

    def console(self) -> str:
        """Return the end of what it has written on its console, and what QEMU has."""
        logs = (self.folder / name for name in ("qemu.log", "console"))
        return "\n".join(log.read_text(errors="replace")[-4000:] for log in logs if log.exists())

    def _greets(self) -> bool:
        with suppress(OSError), socket.create_connection((self.address, 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    def _argv(self, own: Path) -> list[str]:
        # Its seed is a small file system that QEMU makes of a folder.
        drives = [
            f"file={own},if=virtio,cache=unsafe,discard=unmap",
            f"driver=vvfat,dir={self.folder}/seed,label=cidata,if=virtio,read-only=on",
        ]
        return [
            # It ends with us, also when we are killed, and leaves the processor to whoever else wants it.
            *("setpriv", "--pdeathsig", "KILL", "nice", "-n", "10"),
            *("qemu-system-x86_64", "-nodefaults", "-machine", "q35", *_accelerator(Path("/proc/cpuinfo").read_text())),
            *("-m", str(MEGABYTES), "-kernel", str(self.disk.kernel), "-initrd", str(self.disk.initrd)),
            *("-append", "root=LABEL=root rw console=ttyS0 quiet systemd.show_status=1 mitigations=off"),
            *(word for drive in drives for word in ("-drive", drive)),
            *("-netdev", f"tap,id=card,ifname={INTERFACE},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=card,mac={MAC}", "-device", "virtio-rng-pci"),
            *("-display", "none", "-serial", f"file:{self.folder}/console"),
        ]


def _accelerator(cpuinfo: str) -> Sequence[str]:
    """Return QEMU's words for how it computes. A /dev/kvm alone says little: it may be there and run no kernel."""
    if {"vmx", "svm"} & set(cpuinfo.split()) and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,tb-size=512", "-cpu", "max"]


@contextmanager
def network(host: str) -> Iterator[None]:
    """Give this host the interface that a machine's network card is connected to; `host`: its address there."""
    with suppress(subprocess.CalledProcessError):
        _ip("link", "delete", INTERFACE)
    _ip("tuntap", "add", "name", INTERFACE, "mode", "tap")
    try:
        _ip("address", "add", f"{host}/24", "dev", INTERFACE)
        _ip("link", "set", INTERFACE, "up")
        yield
    finally:
        _ip("link", "delete", INTERFACE)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
