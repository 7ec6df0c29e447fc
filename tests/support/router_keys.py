"""Key sets as anybody might write them: good services, and whatever else fits into etcd."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import strategies as st

from argosy.etcd import Entry
from argosy.schema import Scheme

# Names that are prefixes of each other, in one way or another, or of what follows a name.
GOOD_NAMES = ("a", "a.b", "a-b", "a_b", "api", "api-v2", "api.v2", "_3a", "x.local", "x", "service-a", "0")
BAD_NAMES = (
    *("", "A", "a.", ".a", "a..b", "-a", "a b", "a\nbackend evil", "a\udcff", "ä", "\u212a"),
    *("a#", "a'", '"', "\\", "%[src]"),
)
SYNTAX = ("\n", " ", "#", "'", '"', "\\", "${HOME}", "%[src]", "server x 10.9.9.9:1", "\x00", "backend", ";")


def anything(size: int = 30) -> st.SearchStrategy[str]:
    """Any bytes, as etcd's client reads them; what HAProxy's syntax is made of, more often."""
    raw = st.binary(max_size=size).map(lambda data: data.decode(errors="surrogateescape"))
    syntax = st.lists(st.sampled_from(SYNTAX), max_size=5).map("".join)
    return raw | syntax


PORTS = st.integers(-1, 70_000).map(str) | st.sampled_from(
    ["80", "81", "443", "8443", "20000", "09000", "9000 ", "9000\n"]
)
ADDRESSES = st.ip_addresses().map(
    lambda address: f"[{address}]" if address.version == 6 else str(address)
) | st.sampled_from(
    ["10.0.0.1", "0.0.0.0", "224.0.0.1", "[fe80::1%eth0]", "[::ffff:10.0.0.1]", "web", "010.0.0.1", "127.0.0.1"]
)
ENDPOINTS = st.builds("{}:{}".format, ADDRESSES, PORTS)
VALUES = (
    anything()
    | ENDPOINTS
    | PORTS
    | st.sampled_from([*Scheme, "HTTP", "true", "a.b", "http /x 200", "http /%[src]", "none"])
)
IDS = st.sampled_from(["1", "_31", "a:b", "a_3Ab", "x" * 200, "x" * 201, "ä"]) | anything(8)
ATTRIBUTES = (
    st.sampled_from(["scheme", "host_port", "private", "sni", "check", ""])
    | st.builds("{}/{}".format, st.sampled_from(["hosts", "weight", "drain"]), IDS)
    | anything(8)
)
NAMES = st.sampled_from(GOOD_NAMES) | st.sampled_from(BAD_NAMES) | anything(10)

JUNK = st.dictionaries(st.builds("/services/{}/{}".format, NAMES, ATTRIBUTES), VALUES, max_size=40)
"""Keys of services, good and bad and in between."""


@st.composite
def services(draw: st.DrawFn, names: Iterable[str] = GOOD_NAMES) -> dict[str, str]:
    """Keys of services most of which are routed, so that there is something to go wrong."""
    keys: dict[str, str] = {}
    for name in draw(st.lists(st.sampled_from(list(names)), unique=True, min_size=1)):
        values = {
            "scheme": st.sampled_from(list(Scheme)),
            "host_port": st.integers(9000, 9003).map(str),
            "private": st.just(""),
            "sni": st.sampled_from(["a.b", "a.b c.d", "C.D", "*"]),
            "check": st.sampled_from(["tcp", "none", "http /", "http /a?b=%20&c=(d;e) 200,404", "x"]),
            "hosts/1": ENDPOINTS | st.just("10.0.0.1:80"),
            "hosts/_31": st.just("10.0.0.1:81"),
            "weight/1": st.sampled_from(["0", "256", "257"]),
            "drain/1": st.just(""),
        }
        keys[f"/services/{name}/scheme"] = draw(values["scheme"])
        for attribute in draw(st.sets(st.sampled_from(list(values)), max_size=6)):
            keys[f"/services/{name}/{attribute}"] = draw(values[attribute])
    return keys


def entries(keys: dict[str, str], first: int = 1) -> list[Entry]:
    """Return them as of one revision after the other."""
    return [Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), first)]


@dataclass(frozen=True)
class Routed:
    """A service as a test means it. `port`: that of its own backend."""

    name: str
    scheme: Scheme
    private: bool = False
    empty: bool = False

    def keys(self, endpoint: str) -> dict[str, str]:
        prefix = f"/services/{self.name}/"
        keys = {prefix + "scheme": str(self.scheme)}
        keys |= {prefix + "private": ""} if self.private else {}
        return keys if self.empty else keys | {prefix + "hosts/1": endpoint}


def expected(services: Iterable[Routed], host: str, path: str) -> str:
    """Return who answers on the http port by the rules of the design, written down once more and differently:
    a service's name, or the status that the router answers with."""
    named = [service for service in services if not service.private and service.scheme is not Scheme.TCP]
    labels = host.lower().split(":")[0].split(".")
    # The longest name that the host begins with, label by label.
    by_host = [service for service in named if service.name.split(".") == labels[: service.name.count(".") + 1]]
    by_path = [service for service in named if path.split("/")[1:2] == [service.name]]
    found = max(by_host, key=lambda service: len(service.name), default=None) or next(iter(by_path), None)
    if found is None:
        return "404"
    if found.scheme is Scheme.HTTPS:
        return "301"
    return "503" if found.empty else found.name
