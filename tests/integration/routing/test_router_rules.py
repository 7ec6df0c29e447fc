"""Each rule of routing, through a real HAProxy to real backends."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from haproxy_server import HaproxyServer, free_ports, haproxy_server, requires_haproxy
from router_backends import (
    Client,
    HttpBackend,
    TcpBackend,
    make_certificate,
    open_websocket,
    proxy_v1,
    proxy_v2,
    read_line,
    serving,
    trusting,
)

from argosy.etcd import Entry
from argosy.routing.plan import BALANCER_HEALTH_PATH, HEALTH_PATH, plan_routing
from argosy.routing.values import RouterOptions, Routing
from argosy.schema import (
    SSL_SUPPORT,
    instance_key,
    parse_directory,
    service_key,
)

pytestmark = [pytest.mark.integration, requires_haproxy]

ADDRESS = "127.0.9.1"
HTTP = ("web", "api", "api-v2", "a", "a.b", "other", "shop", "both", "hidden", "portal", "secure-port")
PORTED = ("hidden", "portal", "secure-port", "database", "queue", "hidden-tls")


class World:
    """The keys of a small system that uses every rule, its backends, and a router that follows them."""

    def __init__(self, server: HaproxyServer, folder: Path) -> None:
        self.server = server
        self.http = {name: HttpBackend(name) for name in HTTP}
        self.web_2 = HttpBackend("web-2")
        inner = make_certificate(folder / "inner.pem", "mail.example", "chat.example", "hidden-tls.example")
        outer = make_certificate(server.folder / "certs" / "outer.pem", "shop.example", "both.example", "web.example")
        self.tcp = {name: TcpBackend(name) for name in ("database", "queue")}
        self.tls = {name: TcpBackend(name, tls=serving(inner)) for name in ("mail", "chat", "hidden-tls")}
        self.client = Client(ADDRESS, trusting(inner, outer))
        self.ports = dict(zip(PORTED, free_ports(ADDRESS, len(PORTED)), strict=True))

    def keys(self) -> dict[str, str]:
        schemes = dict.fromkeys(self.http, "http") | dict.fromkeys((*self.tcp, *self.tls), "tcp")
        schemes |= {"shop": "https", "secure-port": "https", "both": "http-and-https", "empty": "http"}
        keys = {service_key(name, "scheme"): scheme for name, scheme in schemes.items()}
        for name, backend in (self.http | self.tcp | self.tls).items():
            keys[instance_key(name, "one")] = str(backend.endpoint)
        keys |= {service_key(name, "host_port"): str(port) for name, port in self.ports.items()}
        keys |= {service_key(name, "private"): "" for name in ("hidden", "hidden-tls")}
        keys |= {
            instance_key("web", "two"): str(self.web_2.endpoint),
            instance_key("no-scheme", "one"): str(self.http["other"].endpoint),
            service_key("mail", "sni"): "mail.example",
            service_key("chat", "sni"): "chat.example, Chat-2.example",
            service_key("hidden-tls", "sni"): "hidden-tls.example",
            SSL_SUPPORT: "true",
        }
        return keys

    def close(self) -> None:
        self.client.close()
        for http in (*self.http.values(), self.web_2):
            http.close()
        for tcp in (*self.tcp.values(), *self.tls.values()):
            tcp.close()


def planned(keys: dict[str, str], options: RouterOptions) -> Routing:
    """Return the plan for the keys; the first is the oldest."""
    entries = [Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), 1)]
    return plan_routing(parse_directory(entries), options)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with haproxy_server(ADDRESS, certificates=True) as server:
        made = World(server, tmp_path_factory.mktemp("router"))
        server.start(planned(made.keys(), server.options))
        yield made
        made.close()


@pytest.fixture
def client(world: World) -> Client:
    return world.client


@pytest.fixture
def options(world: World) -> RouterOptions:
    return world.server.options


class TestByName:
    @pytest.mark.parametrize(
        ("host", "path", "name"),
        [
            ("api", "/", "api"),
            ("api.local", "/", "api"),
            ("api.any.domain.example", "/some/path?query=1", "api"),
            ("api.local:8080", "/", "api"),
            ("API.Local", "/", "api"),
            ("api.", "/", "api"),
            ("api-v2.local", "/", "api-v2"),
            ("api-v2", "/", "api-v2"),
            ("a.local", "/", "a"),
            ("a.b", "/", "a.b"),
            ("a.b.local", "/", "a.b"),
            ("a.bc.local", "/", "a"),
            ("ab.local", "/", "404"),
            ("apix.local", "/", "404"),
            ("xapi.local", "/", "404"),
            ("local.api", "/", "404"),
            ("10.0.0.1", "/api", "api"),
            ("10.0.0.1", "/api/", "api"),
            ("[::1]:80", "/api?x=/other/", "api"),
            ("", "/api/v1/things", "api"),
            (None, "/api", "api"),
            ("", "/api-v2", "api-v2"),
            ("", "/a.b/c", "a.b"),
            ("", "/a/b", "a"),
            ("", "/apix", "404"),
            ("", "/x/api/", "404"),
            ("", "//api/", "404"),
            ("", "/API/", "404"),
            ("", "/%61pi/", "404"),
            ("", "/", "404"),
            ("api.local", "/other/", "api"),
            ("other.local", "/api/", "other"),
            ("unknown.local", "/api/", "api"),
        ],
    )
    def test_the_host_or_else_the_path_names_the_service(
        self, client: Client, options: RouterOptions, host: str | None, path: str, name: str
    ) -> None:
        version = "1.0" if host is None else "1.1"
        assert client.ask(options.http_port, path, host, version=version).name == name

    def test_the_path_is_handed_on_as_it_is(self, client: Client, options: RouterOptions) -> None:
        assert client.ask(options.http_port, "/api/v1/%2e%2E/x?y=%20&z").said["path"] == "/api/v1/%2e%2E/x?y=%20&z"

    @pytest.mark.parametrize(
        ("target", "host", "path"),
        [
            ("http://api.local/x?y=1", "api.local", "/x?y=1"),
            ("http://api.local/%2e%2E//z", "api.local", "/%2e%2E//z"),
            ("http://api.local", "api.local", "/"),
            ("HTTP://API.local:80/x", "api.local", "/x"),
            ("http://10.0.0.1/api/v1", "10.0.0.1", "/api/v1"),
            ("/?url=http://other.local/x", "api.local", "/?url=http://other.local/x"),
        ],
    )
    def test_a_request_that_names_the_whole_url_is_handed_on_by_its_path(
        self, client: Client, options: RouterOptions, target: str, host: str, path: str
    ) -> None:
        answer = client.ask(options.http_port, target, host)
        assert (answer.name, answer.said["path"]) == ("api", path)

    def test_the_health_of_the_router_is_told_whatever_the_form(self, client: Client, options: RouterOptions) -> None:
        for target in (HEALTH_PATH, f"http://10.0.0.1{HEALTH_PATH}"):
            assert client.ask(options.http_port, target, "10.0.0.1").status == 200

    def test_instances_take_turns(self, client: Client, options: RouterOptions) -> None:
        names = Counter(client.ask(options.http_port, host="web").name for _ in range(10))
        assert names == {"web": 5, "web-2": 5}

    @pytest.mark.parametrize(("host", "status"), [("empty.local", 503), ("no-scheme.local", 404)])
    def test_a_service_without_instances_is_503_and_one_without_scheme_is_none(
        self, client: Client, options: RouterOptions, host: str, status: int
    ) -> None:
        assert client.ask(options.http_port, host=host).status == status
        assert client.ask(options.http_port, f"/{host.partition('.')[0]}/").status == status

    @pytest.mark.parametrize("name", ["hidden", "database", "mail"])
    def test_private_and_tcp_services_have_no_name(self, client: Client, options: RouterOptions, name: str) -> None:
        assert client.ask(options.http_port, host=f"{name}.local").status == 404
        assert client.ask(options.http_port, f"/{name}/").status == 404

    def test_two_host_headers_are_refused_or_one_service_gets_both(
        self, client: Client, options: RouterOptions
    ) -> None:
        # The service that is chosen sees the very header that chose it.
        answer = client.ask(options.http_port, host="api", headers={"host": "other"})
        assert answer.status == 400 or answer.name == answer.said["host"]


class TestHttps:
    @pytest.mark.parametrize(
        ("host", "path", "location"),
        [
            ("shop.example", "/buy?x=1&y=%20", "https://shop.example{port}/buy?x=1&y=%20"),
            ("Shop.example:80", "/", "https://Shop.example{port}/"),
            ("10.0.0.1", "/shop/buy", "https://10.0.0.1{port}/shop/buy"),
            ("[2001:db8::1]:80", "/shop/", "https://[2001:db8::1]{port}/shop/"),
        ],
    )
    def test_an_https_service_is_redirected_from_http(
        self, client: Client, options: RouterOptions, host: str, path: str, location: str
    ) -> None:
        answer = client.ask(options.http_port, path, host)
        assert answer.status == 301
        assert answer.headers["location"] == location.format(port=f":{options.https_port}")

    def test_one_who_names_no_host_can_t_be_redirected(self, client: Client, options: RouterOptions) -> None:
        assert client.ask(options.http_port, "/shop/", None, version="1.0").status == 400

    @pytest.mark.parametrize("name", ["shop", "both"])
    def test_https_and_both_are_served_over_tls(self, client: Client, options: RouterOptions, name: str) -> None:
        said = client.ask(options.https_port, "/x", f"{name}.example", server_name=f"{name}.example").said
        assert (said["name"], said["path"], said["proto"]) == (name, "/x", ["https"])
        assert client.ask(options.https_port, f"/{name}/", server_name="shop.example").name == name

    def test_both_is_served_over_http_too(self, client: Client, options: RouterOptions) -> None:
        said = client.ask(options.http_port, host="both.example").said
        assert (said["name"], said["proto"]) == ("both", ["http"])

    @pytest.mark.parametrize(("host", "path"), [("web.example", "/"), ("web.example", "/shop/"), ("", "/web/")])
    def test_an_http_service_is_not_served_over_tls(
        self, client: Client, options: RouterOptions, host: str, path: str
    ) -> None:
        assert client.ask(options.https_port, path, host, server_name="web.example").status == 404

    def test_without_ssl_support_nobody_listens(self, world: World) -> None:
        keys = world.keys() | {SSL_SUPPORT: "false"}
        routing = planned(keys, world.server.options)
        assert "frontend https" not in routing.files()["haproxy.cfg"]
        assert [problem.service for problem in routing.problems if "ssl_support" in problem.reason] == [
            "secure-port",
            "shop",
        ]


class TestOwnPorts:
    def test_http_by_port_whatever_the_host_says(self, world: World, client: Client) -> None:
        said = client.ask(world.ports["portal"], "/api/", "api.local", headers={"X-Forwarded-For": "6.6.6.6"}).said
        assert (said["name"], said["path"], said["proto"]) == ("portal", "/api/", ["http"])
        assert said["forwarded"] == ["127.0.0.1"]

    def test_a_service_with_a_port_has_its_name_too(self, client: Client, options: RouterOptions) -> None:
        assert client.ask(options.http_port, host="portal.local").name == "portal"

    def test_a_private_service_answers_there_alone(self, world: World, client: Client) -> None:
        assert client.ask(world.ports["hidden"]).name == "hidden"

    def test_https_by_port_ends_tls(self, world: World, client: Client) -> None:
        said = client.ask(world.ports["secure-port"], server_name="shop.example").said
        assert (said["name"], said["proto"]) == ("secure-port", ["https"])

    @pytest.mark.parametrize("name", ["database", "queue"])
    def test_tcp_by_port(self, world: World, client: Client, name: str) -> None:
        with client.connect(world.ports[name]) as connection:
            assert read_line(connection) == name
            connection.sendall(b"hello\n")
            assert read_line(connection) == "hello"

    def test_private_tls_by_port_with_its_own_certificate(self, world: World, client: Client) -> None:
        assert client.greeting(world.ports["hidden-tls"], server_name="hidden-tls.example") == "hidden-tls"


class TestByTlsName:
    @pytest.mark.parametrize(
        ("server_name", "name"), [("mail.example", "mail"), ("chat.example", "chat"), ("MAIL.example", "mail")]
    )
    def test_the_server_name_leads_to_the_service(
        self, client: Client, options: RouterOptions, server_name: str, name: str
    ) -> None:
        assert client.greeting(options.tls_port, server_name=server_name) == name

    def test_the_balancer_may_pass_on_the_clients_address_there(self, client: Client, options: RouterOptions) -> None:
        before = proxy_v2("198.51.100.7")
        assert client.greeting(options.tls_proxy_port, before=before, server_name="mail.example") == "mail"

    @pytest.mark.parametrize("server_name", ["unknown.example", "x.mail.example", "hidden-tls.example"])
    def test_other_names_and_private_services_lead_nowhere(
        self, client: Client, options: RouterOptions, server_name: str
    ) -> None:
        assert client.greeting(options.tls_port, server_name=server_name) == ""

    def test_what_is_no_tls_is_closed(self, client: Client, options: RouterOptions) -> None:
        with client.connect(options.tls_port, before=b"GET / HTTP/1.0\r\n\r\n" * 10) as connection:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(10) == b""


class TestWhoTheClientIs:
    def test_what_the_client_says_of_itself_is_not_believed(self, client: Client, options: RouterOptions) -> None:
        headers = {"X-Forwarded-For": "6.6.6.6", "x-forwarded-for": "7.7.7.7", "X-Forwarded-Proto": "https"}
        said = client.ask(options.http_port, host="web", headers=headers).said
        assert (said["forwarded"], said["proto"]) == (["127.0.0.1"], ["http"])

    @pytest.mark.parametrize("header", [proxy_v1, proxy_v2])
    def test_the_balancer_tells_by_the_proxy_protocol(
        self, client: Client, options: RouterOptions, header: Callable[[str], bytes]
    ) -> None:
        said = client.ask(options.proxy_port, host="web", before=header("198.51.100.7")).said
        assert said["forwarded"] == ["198.51.100.7"]

    def test_over_tls_too(self, client: Client, options: RouterOptions) -> None:
        before, name = proxy_v2("198.51.100.7"), "shop.example"
        said = client.ask(options.https_proxy_port, host=name, before=before, server_name=name).said
        assert (said["forwarded"], said["proto"]) == (["198.51.100.7"], ["https"])

    def test_without_it_that_port_answers_nobody(self, client: Client, options: RouterOptions) -> None:
        with client.connect(options.proxy_port, before=b"GET / HTTP/1.1\r\nHost: web\r\n\r\n") as connection:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert not connection.recv(4096).startswith(b"HTTP/1.1 200")

    def test_and_on_the_others_nobody_is_believed(self, client: Client, options: RouterOptions) -> None:
        answer = client.ask(options.http_port, host="web", before=proxy_v1("198.51.100.7"))
        assert answer.status == 400

    def test_websockets_pass(self, client: Client, options: RouterOptions) -> None:
        connection = open_websocket(client, options.http_port, host="web")
        connection.sendall(b"hello\n")
        assert read_line(connection) == "hello"


class TestHealth:
    @pytest.mark.parametrize("path", [HEALTH_PATH, BALANCER_HEALTH_PATH])
    def test_the_router_says_that_it_serves(self, client: Client, options: RouterOptions, path: str) -> None:
        for host in ("", "web.local"):
            answer = client.ask(options.http_port, path, host)
            assert (answer.status, answer.text) == (200, "ok\n")
        assert client.ask(options.proxy_port, path, before=proxy_v1("198.51.100.7")).status == 200
