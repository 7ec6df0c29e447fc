"""Pure. Where things lie on a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Where the files of `system` are on a machine that runs `os`."""

    system: str
    os: str = "debian"

    @property
    def config(self) -> str:
        return f"/etc/{self.system}"

    @property
    def secrets(self) -> str:
        return f"/etc/{self.system}/secrets"

    @property
    def marker(self) -> str:
        """Written last by an upload of the secrets; SYSTEM-secrets.path waits for it."""
        return f"/etc/{self.system}/secrets/.complete"

    @property
    def state(self) -> str:
        return f"/var/lib/{self.system}"

    @property
    def dns(self) -> str:
        """The folder that the container of dnsmasq has at dns.UPSTREAM_FOLDER."""
        return f"/run/{self.system}/dns"

    @property
    def programs(self) -> str:
        return f"/opt/{self.system}/bin"

    @property
    def command(self) -> str:
        """The command named after the system, in everybody's PATH; Flatcar's /usr is read-only."""
        return f"{'/opt/bin' if self.os == 'flatcar' else '/usr/local/bin'}/{self.system}"


UNIT_FOLDER = "/etc/systemd/system"
