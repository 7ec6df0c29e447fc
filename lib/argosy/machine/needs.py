"""Pure. What a server must have to become a machine: what is seen on it in, what it lacks and what stands against it
out.

LOOK runs on the server as root and needs nothing but a shell, coreutils and sed there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address

from argosy.config.loading import Settings
from argosy.config.ports import Claim, machine_claims
from argosy.model import Machine
from argosy.stamps import clock_skew_seconds

DOCKER_UNIT = "docker.service"
DOCKER_FOLDER = "/var/lib/docker"
PACKAGES = {"docker": "docker.io", "curl": "curl", "flock": "util-linux", "tar": "tar"}
"""Programs that are needed, and the packages of Debian and Ubuntu that have them. Debian 13 has the program docker in
docker-cli, which INSTALL looks for by itself."""
AUTHORITIES = "ca-certificates"
APPARMOR = "apparmor"
"""Without its parser Docker starts no container where the kernel enforces it."""
MAPPED = b"\0" * 8 + b"\xff\xff\0\0"
"""What an address of IPv4 begins with in the tables of IPv6."""
LISTENING = {"tcp": "0A", "udp": "07"}
"""The state of a socket that takes what comes, as /proc/net has it (include/net/tcp_states.h in Linux)."""

LOOK = f"""\
set -u
system=$1 folder=$2
printf 'os %s\\n' "$(sed -n 's/^ID\\(_LIKE\\)\\{{0,1\\}}=//p' /etc/os-release | tr -d '"' | tr '\\n' ' ')"
printf 'called %s\\n' "$(sed -n 's/^PRETTY_NAME=//p' /etc/os-release | tr -d '"')"
for program in {" ".join(PACKAGES)} apt-get apparmor_parser; do
  if command -v "$program" >/dev/null; then printf 'has %s\\n' "$program"; fi
done
if [ -d /run/systemd/system ]; then echo 'has systemd'; fi
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then echo 'has {AUTHORITIES}'; fi
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then echo 'has {APPARMOR}'; fi
if systemctl cat {DOCKER_UNIT} >/dev/null 2>&1; then echo 'has {DOCKER_UNIT}'; fi
printf 'engine %s\\n' "$(timeout 20 docker version --format '{{{{.Server.Version}}}}' 2>/dev/null | head -n 1)"
systemctl list-units --plain --no-legend --state=active "$system-*" 2>/dev/null | while read -r unit _; do
  printf 'runs %s\\n' "$unit"
done
while [ ! -d "$folder" ]; do folder=$(dirname -- "$folder"); done
printf 'free %s\\n' "$(df --block-size=M --output=avail -- "$folder" | tail -n 1 | tr -dc 0-9)"
sed -n '/32 host LOCAL/{{x;s/.*|-- /address /p;x;}};h' /proc/net/fib_trie 2>/dev/null | sort -u
for table in tcp tcp6 udp udp6; do
  [ ! -r "/proc/net/$table" ] || sed 1d "/proc/net/$table" | while read -r _ place _ state _; do
    case $table:$state in
      tcp*:{LISTENING["tcp"]} | udp*:{LISTENING["udp"]}) printf 'listens %s %s\\n' "$table" "$place" ;;
    esac
  done
done
printf 'now %s\\n' "$(date +%s)"
"""
"""$1: the system; $2: where Docker keeps images. Prints `os WORDS`, `called TEXT`, `has NAME`, `engine VERSION`, `runs
UNIT`, `free MEGABYTES`, `address IPV4`, `listens tcp|tcp6|udp|udp6 ADDRESS:PORT` (as in /proc/net), and last `now
SECONDS`."""

INSTALL = """\
set -eu
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
get() { apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install -- "$@" </dev/null >&2; }
if [ $# -gt 0 ]; then
  # What a run that was killed has left half-way.
  dpkg --configure -a
  tries=0
  until told=$(apt-get -qq update 2>&1); do
    tries=$((tries + 1))
    # The updates of the server itself hold the lists for a while, just after its first boot; apt ends with 100 then,
    # as it does for all that fails, and says so in the server's own language.
    [ $tries -lt 30 ] || break
    sleep 5
  done
  [ -z "$told" ] || printf '%s\\n' "$told" >&2
  get "$@"
  command -v docker >/dev/null || get docker-cli
fi
systemctl enable --quiet --now docker.service
docker version --format '{{.Server.Version}}'
"""
"""$1...: packages. Prints the version of Docker's engine, which runs then."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who listens on a port of a server. `address`: empty for all of them."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Server:
    """What was seen of a server. `os`: the words of ID and ID_LIKE; `called`: the OS, for people; `has`: of what LOOK
    asks for; `engine`: the version of Docker's, empty when it does not run; `running`: units of the system;
    `free_megabytes`: where Docker keeps images; `skew_seconds`: how far its clock is surely off."""

    os: frozenset[str]
    called: str
    has: frozenset[str]
    engine: str = ""
    running: tuple[str, ...] = ()
    free_megabytes: int | None = None
    addresses: frozenset[str] = frozenset()
    listeners: tuple[Listener, ...] = ()
    skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a server needs. `packages`: to be installed; `start_docker`: the engine is there and does not run;
    `problems`: what nobody but its owner can put right."""

    packages: tuple[str, ...] = ()
    start_docker: bool = False
    problems: tuple[str, ...] = ()

    @property
    def to_install(self) -> bool:
        """Whether there is something that INSTALL does."""
        return bool(self.packages or self.start_docker)

    def __str__(self) -> str:
        words = [f"install {', '.join(self.packages)} (apt-get)"] if self.packages else []
        return "; ".join([*words, *(["start Docker"] if self.start_docker else [])])


def parse_server(text: str, asked: datetime, answered: datetime) -> Server:
    """Return what LOOK printed, between these moments. Raises ValueError for what it can't have printed."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        found.setdefault(kind, []).append(rest.strip())
    if "now" not in found or not found["now"][0].isdecimal():
        raise ValueError("it did not tell all of itself")
    free = found.get("free", [""])[0]
    # Of a moment within that second.
    now = datetime.fromtimestamp(int(found["now"][0]), UTC)
    skew = clock_skew_seconds(now, asked.replace(microsecond=0), answered)
    return Server(
        os=frozenset(found.get("os", [""])[0].split()),
        called=found.get("called", [""])[0],
        has=frozenset(found.get("has", ())),
        engine=found.get("engine", [""])[0],
        running=tuple(found.get("runs", ())),
        free_megabytes=int(free) if free.isdecimal() else None,
        addresses=frozenset(found.get("address", ())),
        listeners=tuple(dict.fromkeys(each for text in found.get("listens", ()) if (each := _listener(text)))),
        skew_seconds=skew,
    )


def needs_of(settings: Settings, machine: Machine, server: Server, *, installed: bool = False) -> Needs:
    """Return what the server needs to be the machine. `installed`: it is, so that what it uses is its own."""
    lacking = [name for name in PACKAGES if name not in server.has]
    packages = [PACKAGES[name] for name in lacking]
    if "docker" in lacking:
        packages += [AUTHORITIES] * (AUTHORITIES not in server.has)
        packages += [APPARMOR] * (APPARMOR in server.has and "apparmor_parser" not in server.has)
    problems = list(_lacking(server, lacking))
    if not installed:
        problems += _against(settings, machine, server)
    has_apt = _has_apt(server)
    starts = not server.engine and "docker" not in lacking and DOCKER_UNIT in server.has
    return Needs(tuple(packages) if has_apt else (), starts and has_apt, tuple(problems))


def _lacking(server: Server, lacking: Sequence[str]) -> Iterator[str]:
    if "systemd" not in server.has:
        yield "it lacks a running systemd"
    if lacking and not _has_apt(server):
        yield f"it lacks {', '.join(lacking)}, and {server.called or 'its system'} has no apt-get: install that"
    if "docker" in lacking:
        return
    if DOCKER_UNIT not in server.has:
        # A snap, or Podman under that name: neither reads the settings that we give it.
        yield f"its Docker is no unit {DOCKER_UNIT}: take it away, or start it as that"
    elif not (server.engine or _has_apt(server)):
        yield f"its Docker does not run: systemctl enable --now {DOCKER_UNIT}"


def _has_apt(server: Server) -> bool:
    return "apt-get" in server.has and bool(server.os & {"debian", "ubuntu"})


def _against(settings: Settings, machine: Machine, server: Server) -> Iterator[str]:
    """Yield what stands against a server that is no machine yet."""
    rules = settings.rollout
    if server.free_megabytes is not None and server.free_megabytes < rules.free_megabytes:
        yield f"{server.free_megabytes} MB are free where Docker keeps images, {rules.free_megabytes} are needed"
    if abs(server.skew_seconds) > rules.clock_skew_seconds:
        word = "ahead of" if server.skew_seconds > 0 else "behind"
        yield f"its clock is {abs(server.skew_seconds):.0f} s {word} this host's: set it"
    if server.addresses and machine.address not in server.addresses and not IPv4Address(machine.address).is_loopback:
        own = ", ".join(sorted(address for address in server.addresses if not IPv4Address(address).is_loopback))
        yield f"{machine.address} is no address of its own ({own}): give the one by which the other machines reach it"
    if not server.running:
        yield from _taken(machine_claims(settings), server.listeners)


def _taken(claims: Iterable[Claim], listeners: Sequence[Listener]) -> Iterator[str]:
    for claim in claims:
        for each in listeners:
            if claim.meets(Claim("", "", each.port, each.port, each.protocol, each.address)):
                yield f"its port {each.port}/{each.protocol} is taken, which is that of {claim.who} ({claim.path})"
                break


def _listener(text: str) -> Listener | None:
    """Return a line of /proc/net, `tcp 0100007F:0016`, each word of the address in the byte order of the machine; None
    for an address of IPv6, at which nobody of ours listens."""
    table, _, place = text.partition(" ")
    words, _, port = place.partition(":")
    raw = bytes.fromhex(words)
    if len(raw) == 16 and any(raw) and raw[:12] != MAPPED:
        return None
    address = IPv4Address(raw[-4:][::-1])
    return Listener(table[:3], "" if address.is_unspecified else str(address), int(port, 16))
