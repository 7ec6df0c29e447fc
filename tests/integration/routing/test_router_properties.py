"""Whatever stands in etcd: HAProxy takes what is rendered, no request goes astray, good services keep their routes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from haproxy_server import HaproxyServer, check, haproxy_server, requires_haproxy, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router_backends import Client, HttpBackend
from router_keys import ADDRESSES, GOOD_NAMES, IDS, JUNK, VALUES, Routed, anything, entries, expected, services

from argosy.model import Endpoint
from argosy.routing.changes import plan_changes
from argosy.routing.plan import IN_SERVICE, plan_balancer, plan_routing
from argosy.routing.values import RouterOptions, Routing
from argosy.schema import Catalog, Scheme, parse_directory

pytestmark = [pytest.mark.integration, requires_haproxy]

ADDRESS = "127.0.9.20"
OPTIONS = RouterOptions(machine_address="10.0.0.9")
# A process for each example: few of them; they are larger instead.
FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=60, suppress_health_check=list(HealthCheck))

_NAME = r"[a-z0-9_.-]{1,200}"
_SERVER = r"[A-Za-z0-9_.:-]+ (\[[0-9a-f:.]+\]|[0-9.]+):[0-9]+ weight [0-9]{1,3}( check inter [0-9a-z ]+)?"
_LINES = re.compile(
    rf"backend service-{_NAME} from (http|tcp)-mode|frontend port-[0-9]+ from (http-clients|tcp-mode)|    bind :[0-9]+"
    rf"|    default_backend service-{_NAME}|    option httpchk|    http-check expect status [0-9,-]+"
    rf"|    http-check send meth GET uri /[!-~]* ver HTTP/1.1 hdr Host {_NAME}|    server {_SERVER}|"
)
_MAP_LINE = re.compile(rf"(/?{_NAME}[./]?) service-{_NAME}|service-{_NAME} 1")


def sections(routing: Routing) -> str:
    """Return what of the configuration services have a share in."""
    return "".join(section.lines() for section in routing.sections if section.backend.name != IN_SERVICE)


def accepted(routing: Routing) -> str:
    with tempfile.TemporaryDirectory(prefix="hap-", dir="/tmp") as name:
        write(Path(name), routing.files())
        return check(Path(name))


class TestRendering:
    @FEW
    @given(services(), JUNK)
    def test_haproxy_accepts_it(self, keys: dict[str, str], junk: dict[str, str]) -> None:
        routing = plan_routing(parse_directory(entries(junk | keys)), OPTIONS)
        assert accepted(routing) == ""

    @MANY
    @given(services(), JUNK)
    def test_no_value_adds_a_line_or_a_word(self, keys: dict[str, str], junk: dict[str, str]) -> None:
        routing = plan_routing(parse_directory(entries(junk | keys)), OPTIONS)
        assert [name for name in sections(routing).split("\n") if not _LINES.fullmatch(name)] == []
        maps = [text for name, text in routing.files().items() if name.startswith("maps/")]
        assert [name for text in maps for name in text.splitlines() if not _MAP_LINE.fullmatch(name)] == []

    @MANY
    @given(services(), JUNK)
    def test_nothing_is_there_twice(self, keys: dict[str, str], junk: dict[str, str]) -> None:
        routing = plan_routing(parse_directory(entries(junk | keys)), OPTIONS)
        text = sections(routing)
        for pattern in (r"(?m)^(?:backend|frontend) .*", r"(?m)^    bind .*"):
            found = re.findall(pattern, text)
            assert len(found) == len(set(found))
        for name, text in routing.files().items():
            if name.startswith("maps/"):
                keys_of = [line.split(" ")[0] for line in text.splitlines()]
                assert len(keys_of) == len(set(keys_of))

    @FEW
    @given(st.dictionaries(IDS | anything(), VALUES | ADDRESSES.map('{{"address": "{}"}}'.format), max_size=20))
    def test_haproxy_accepts_the_balancers_too(self, machines: dict[str, str]) -> None:
        directory = parse_directory(entries({f"/machines/{name}": value for name, value in machines.items()}))
        assert accepted(plan_balancer(directory, replace(OPTIONS, listen=("127.0.9.20:8080",)))) == ""

    def test_thousands_of_services(self) -> None:
        keys: dict[str, str] = {}
        for number in range(3000):
            prefix = f"/services/s{number}.{'x' * (number % 150)}z/"
            keys[prefix + "scheme"] = list(Scheme)[number % 4]
            keys[prefix + "check"] = ("tcp", "none", "http /x", "bad")[number % 4]
            keys[prefix + "host_port"] = str(9000 + number * 7)
            keys[prefix + "sni"] = f"s{number}.example"
            for instance in range(3):
                keys[f"{prefix}hosts/{'ä' * (number % 100)}{instance}"] = (
                    f"10.{instance}.{number // 250}.{number % 250 + 1}:80"
                )
        routing = plan_routing(parse_directory(entries(keys)), OPTIONS)
        assert len(routing.backends.keys() - {IN_SERVICE}) == 3000
        assert accepted(routing) == ""


class TestOthersRoutes:
    @MANY
    @given(services(GOOD_NAMES[:6]), JUNK)
    def test_good_services_keep_theirs(self, keys: dict[str, str], junk: dict[str, str]) -> None:
        """Whatever comes after them, under other names, whether it is good or bad."""
        own = {key.split("/")[2] for key in keys}
        others = {key: value for key, value in junk.items() if key.split("/")[2] not in own}
        alone = plan_routing(parse_directory(entries(keys)), OPTIONS)
        beside = plan_routing(parse_directory([*entries(keys), *entries(others, len(keys) + 1)]), OPTIONS)
        assert alone.named is not None
        assert beside.named is not None
        for name, route in alone.named.items():
            assert beside.named[name] == route
        for name, text in alone.files().items():
            if name.startswith("maps/"):
                there = beside.files()[name.replace(alone.structure, beside.structure)].splitlines()
                assert set(text.splitlines()) <= set(there)

    @MANY
    @given(st.lists(services() | JUNK, min_size=1, max_size=4))
    def test_a_plan_does_not_depend_on_those_before_it(self, states: list[dict[str, str]]) -> None:
        catalog, previous, revision = Catalog(), None, 1
        for keys in states:
            catalog.replace(entries(keys, revision))
            revision += len(keys)
            directory = catalog.directory()
            previous = plan_routing(directory, OPTIONS, previous)
            anew = plan_routing(directory, OPTIONS)
            assert previous == anew
            assert previous.files() == anew.files()


@pytest.fixture(scope="module")
def server() -> Iterator[HaproxyServer]:
    with haproxy_server(ADDRESS) as made:
        made.start(plan_routing(parse_directory([]), made.options))
        yield made


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, HttpBackend]]:
    made = {name: HttpBackend(name) for name in (*GOOD_NAMES, "astray")}
    yield made
    for backend in made.values():
        backend.close()


ROUTED = st.builds(
    Routed,
    st.sampled_from(GOOD_NAMES),
    st.sampled_from([Scheme.HTTP, Scheme.HTTP, Scheme.HTTPS, Scheme.HTTP_AND_HTTPS, Scheme.TCP]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, True]),
)


def probes(routed: list[Routed]) -> Iterator[tuple[str, str]]:
    """Hosts and paths that name a service, nearly name it, or name two."""
    names = [service.name for service in routed]
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        yield name, "/"
        yield f"{name.upper()}.any.domain:8080", f"/{other}/x"
        yield "10.0.0.1", f"/{name}"
        yield "nobody", f"/{name}/{other}?x=/{other}/"
        yield f"{name}x", f"/{name}x/{name}/"
        yield f"x{name}.local", f"//{name}/"


class TestRequests:
    @settings(FEW, max_examples=15)
    @given(st.lists(ROUTED, unique_by=lambda routed: routed.name, min_size=1, max_size=8), JUNK)
    def test_none_goes_astray(
        self,
        server: HaproxyServer,
        backends: dict[str, HttpBackend],
        routed: list[Routed],
        junk: dict[str, str],
    ) -> None:
        """By a real HAProxy: each gets the answer that the rules name, from the service's own backend."""
        astray, own = str(backends["astray"].endpoint), {service.name for service in routed}
        keys: dict[str, str] = {}
        for service in routed:
            keys |= service.keys(str(backends[service.name].endpoint))
        for name in set(GOOD_NAMES) - own:
            keys[f"/services/{name}/hosts/1"] = astray
        # Junk beside them, that belongs to no service of theirs; where it is an endpoint, it is the wrong one.
        for key, value in junk.items():
            if key.split("/")[2] not in GOOD_NAMES:
                keys[key] = astray if "/hosts/" in key else "bad" if key.endswith("/scheme") else value
        routing = plan_routing(parse_directory(entries(keys)), server.options)
        server.reload(routing)
        client = Client(ADDRESS)
        for host, path in probes(routed):
            found = client.ask(server.options.http_port, path, host)
            assert (host, path, found.name) == (host, path, expected(routed, host, path))
        assert not backends["astray"].requests


INSTANCES = st.dictionaries(
    IDS, st.tuples(st.integers(1, 5), st.sampled_from(["", "0", "7", "256", "x"]), st.booleans()), max_size=6
)


class TestChanges:
    @settings(FEW, max_examples=15)
    @given(st.lists(INSTANCES, min_size=2, max_size=5))
    def test_the_runtime_reaches_every_plan(
        self, server: HaproxyServer, states: list[dict[str, tuple[int, str, bool]]]
    ) -> None:
        """From any set of instances to any other, whatever their IDs: never a reload, and nothing left over."""
        base = {"/services/web/scheme": "http", "/services/web/check": "none"}
        start = plan_routing(parse_directory(entries(base)), server.options)
        server.reload(start)
        for state in states:
            keys = dict(base)
            for number, (name, (address, weight, draining)) in enumerate(state.items()):
                keys[f"/services/web/hosts/{name}"] = str(Endpoint(f"127.0.9.{200 + address}", 9 + number % 2))
                keys |= {f"/services/web/weight/{name}": weight} if weight else {}
                keys |= {f"/services/web/drain/{name}": ""} if draining else {}
            routing = plan_routing(parse_directory(entries(keys)), server.options)
            assert routing.structure == start.structure
            server.apply(routing)
            assert plan_changes(server.servers(), routing) == []
            wanted = routing.backends["service-web"].servers
            found = server.servers().get("service-web", {})
            assert {server.name: (server.endpoint, server.weight) for server in found.values()} == {
                server.name: (server.endpoint, server.weight) for server in wanted.values()
            }
