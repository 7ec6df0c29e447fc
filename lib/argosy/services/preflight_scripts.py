"""Pure. What is run on a machine before instances of a service start there, and what its answers mean."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from argosy.config.loading import ScheduledSettings
from argosy.paths import Names
from argosy.ssh.shell import Script

_LOOK = """\
set -e
image=$1 config=$2
shift 2
docker version > /dev/null
if ! docker image inspect --format ok "$image" > /dev/null 2>&1; then
    said=$(docker --config "$config" pull --quiet "$image" 2>&1 > /dev/null) ||
        printf 'image %s\\n' "$(printf '%s' "$said" | tail -n 1)"
fi
for word; do
    case $word in
        file:*) [ -e "${word#file:}" ] || printf 'file %s\\n' "${word#file:}" ;;
        port:*)
            port=${word#port:}
            kind=${port#*/}
            service='{{.Label "com.docker.swarm.service.name"}}'
            held=$(docker ps --filter "publish=$port" --format "port $port {{.Names}} $service")
            state=0A
            [ "$kind" = tcp ] || state=07
            line=$(printf ' *[0-9]+: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]+ %s ' "${port%/*}" "$state")
            if [ -n "$held" ]; then
                printf '%s\\n' "$held"
            elif grep -Eqs "^$line" "/proc/net/$kind" "/proc/net/${kind}6"; then
                printf 'port %s\\n' "$port"
            fi ;;
    esac
done
"""
"""Pulls the image unless it is there. State 0A of a socket is listening (tcp), 07 is bound (udp):
https://www.kernel.org/doc/html/v5.10/networking/proc_net_tcp.html"""


def look(names: Names, image: str, definition: ScheduledSettings) -> Script:
    """Return what says what an instance would lack on a machine: a line for each thing."""
    files = [f"{names.secrets}/{secret}" for secret in definition.secrets]
    files += [volume.source for volume in definition.volumes if not volume.named]
    outer = [port.partition(":")[0] + (port[port.index("/") :] if "/" in port else "/tcp") for port in definition.ports]
    words = [*(f"file:{path}" for path in files), *(f"port:{port}" for port in outer)]
    return Script(f"look whether {image} can run", _LOOK, image, f"{names.secrets}/registry", *words)


def lacking(text: str, image: str, own: Collection[str]) -> Iterator[str]:
    """Yield what a machine lacks by what `look` printed, in words. `own`: Swarm's names of the service itself, whose
    ports are no hindrance."""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "image":
            yield f"{image} can't be pulled: {rest or 'Docker says nothing'}"
        elif kind == "file":
            yield f"{rest} is not there"
        elif kind == "port":
            port, container, service, *_ = *rest.split(" "), "", ""
            if service not in own or not service:
                yield f"port {port} is held by {service or container or 'another program'}"
