"""Pure. The text of a router's configuration: haproxy.cfg and its maps.

Everything that came from etcd has been made anew by `argosy.schema`, or is escaped here, before it gets into a line.
Parts that a thousand services repeat are joined in Python; Jinja renders what stands there once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from argosy.model import Endpoint
from argosy.schema import Check, Scheme, Service

_PLAIN = re.compile(r"[A-Za-z0-9.-]*")
_PATH = re.compile(r"[^\x00-\x1f\x7f']+")

BACKEND = "service-"
MACHINES_BACKEND = "machines"
MAPS = ("hosts", "paths", "https_only", "over_tls", "sni")


def escape(text: str) -> str:
    """Return `text` as part of a HAProxy name, injectively: bytes outside [A-Za-z0-9.-] become _XX."""
    if _PLAIN.fullmatch(text):
        return text
    data = text.encode(errors="surrogateescape")
    return "".join(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"_{byte:02X}" for byte in data)


def server_name(instance: str, endpoint: Endpoint) -> str:
    """Return the name of an instance's server: another address is another server."""
    return f"{escape(instance)}:{escape(endpoint.address)}:{endpoint.port}"


def quote_path(path: str) -> str:
    """Return a path as one word of the configuration. Raises ValueError for a quote or a control character."""
    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} can't stand in HAProxy's configuration")
    return f"'{path}'"


def backend_name(service: str) -> str:
    return BACKEND + service


def check_words(seconds: float) -> str:
    """Return a server's words for its check: down after two failures, up again after one success."""
    milliseconds = max(1, round(seconds * 1000))
    fast, down = max(1, milliseconds // 4), max(1, milliseconds // 2)
    return f"check inter {milliseconds}ms fastinter {fast}ms downinter {down}ms fall 2 rise 1"


def check_lines(check: Check, host: str) -> str:
    """Return a backend's lines for a check by HTTP."""
    if check.kind != "http":
        return ""
    status = ",".join(map(str, check.status)) or "200-399"
    return (
        "    option httpchk\n"
        f"    http-check send meth GET uri {check.path} ver HTTP/1.1 hdr Host {host}\n"
        f"    http-check expect status {status}\n"
    )


def backend_lines(service: Service) -> str:
    """Return a service's backend without its servers."""
    mode = "tcp" if service.scheme is Scheme.TCP else "http"
    return f"\nbackend {backend_name(service.name)} from {mode}-mode\n{check_lines(service.check, service.name)}"


def machines_lines(check_path: str) -> str:
    """Return the balancer's backend without its servers. A machine that answers 404 gets no new connections."""
    check = check_lines(Check("http", check_path), "balancer")
    return f"\nbackend {MACHINES_BACKEND} from tcp-mode\n{check}    http-check disable-on-404\n"


def port_lines(service: Service, port: int, address: str, tls_words: str) -> str:
    """Return the frontend of a service's own port."""
    kind = "tcp-mode" if service.scheme is Scheme.TCP else "http-clients"
    words = f" {tls_words}" if service.scheme is Scheme.HTTPS else ""
    return (
        f"\nfrontend port-{port} from {kind}\n    bind {address}:{port}{words}\n"
        f"    default_backend {backend_name(service.name)}\n"
    )


def map_texts(names: Iterable[tuple[Service, Sequence[str]]]) -> dict[str, str]:
    """Return the maps by what they are for.

    `names`: the services with a scheme, and the TLS names that were granted to each.
    `hosts` and `paths` are looked up by their longest beginning, so each name ends with what must follow it.
    """
    hosts, paths, https_only, over_tls, sni = [], [], [], [], []
    for service, granted in names:
        backend = backend_name(service.name)
        sni += [f"{name} {backend}\n" for name in granted]
        if service.private or service.scheme is Scheme.TCP:
            continue
        hosts.append(f"{service.name}. {backend}\n")
        paths.append(f"/{service.name}/ {backend}\n")
        if service.scheme is Scheme.HTTPS:
            https_only.append(f"{backend} 1\n")
        if service.scheme is not Scheme.HTTP:
            over_tls.append(f"{backend} 1\n")
    return {name: "".join(lines) for name, lines in zip(MAPS, (hosts, paths, https_only, over_tls, sni), strict=True)}


def map_files(maps: Iterable[str], structure: str) -> dict[str, str]:
    """Return the maps' paths beside haproxy.cfg. Each structure has its own, so that haproxy.cfg, replaced in one
    step, always finds those that it was made with."""
    return {name: f"maps/{name}-{structure}.map" for name in maps}
