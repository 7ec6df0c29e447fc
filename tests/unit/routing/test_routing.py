"""What a router must do: plans, claims, and what a change of the keys changes in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from argosy.etcd import Entry
from argosy.model import Endpoint
from argosy.routing.haproxy import escape, quote_path, server_name
from argosy.routing.plan import IN_SERVICE, plan_balancer, plan_routing
from argosy.routing.values import RouterOptions, Routing
from argosy.schema import DEFAULT_SERVICE, SSL_SUPPORT, Catalog, Directory, parse_directory

OPTIONS = RouterOptions(machine_address="10.0.0.1")
SSL_ON = {SSL_SUPPORT: "true"}
WEB = {"web/scheme": "http", "web/hosts/1": "10.0.0.5:8000", "web/hosts/2": "10.0.0.6:8000"}


def listed(services: Mapping[str, str], **others: str) -> list[Entry]:
    """Return entries of keys under /services/, then of `others` by their whole key; each later one is younger."""
    keys = {f"/services/{key}": value for key, value in services.items()} | others
    return [Entry(key, value, number, number) for number, (key, value) in enumerate(keys.items(), 1)]


def directory(services: Mapping[str, str], others: Mapping[str, str] | None = None) -> Directory:
    return parse_directory(listed(services, **(others or {})))


def plan(
    services: Mapping[str, str], options: RouterOptions = OPTIONS, others: Mapping[str, str] | None = None
) -> Routing:
    return plan_routing(directory(services, others), options)


def config(routing: Routing) -> str:
    return routing.files()["haproxy.cfg"]


def text_of(routing: Routing, name: str) -> str:
    """Return a map of the plan."""
    return routing.files()[f"maps/{name}-{routing.structure}.map"]


class TestStructure:
    @pytest.mark.parametrize(
        "changed",
        [
            {"web/hosts/3": "10.0.0.7:80"},
            {"web/hosts/1": "10.0.0.8:80"},
            {"web/weight/1": "3"},
            {"web/drain/1": ""},
            {"web/weight/1": "bad"},
            {"other/hosts/1": "10.0.0.7:80"},
            {"BAD/scheme": "http"},
        ],
    )
    def test_instances_are_none_of_it(self, changed: dict[str, str]) -> None:
        assert plan(WEB | changed).structure == plan(WEB).structure

    @pytest.mark.parametrize(
        "changed",
        [
            {"web/scheme": "https"},
            {"web/scheme": "http-and-https"},
            {"web/scheme": "tcp"},
            {"web/host_port": "9000"},
            {"web/private": ""},
            {"web/check": "http /"},
            {"other/scheme": "http"},
            {"other/scheme": "tcp", "other/sni": "a.b"},
        ],
    )
    def test_everything_else_is(self, changed: dict[str, str]) -> None:
        assert plan(WEB | changed).structure != plan(WEB).structure

    def test_a_check_of_another_kind_is_structure_too(self) -> None:
        # A server's words can't be changed while it is there.
        assert plan(WEB | {"web/check": "none"}).structure != plan(WEB).structure

    @pytest.mark.parametrize(
        "changed",
        [
            {"check_seconds": 3.0},
            {"hard_stop_seconds": 7},
            {"forwards": {20000: Endpoint("172.17.0.2", 80)}},
            {"http_port": 8080},
            {"run_folder": "/elsewhere"},
        ],
    )
    def test_so_are_the_options(self, changed: dict[str, object]) -> None:
        assert plan(WEB, replace(OPTIONS, **changed)).structure != plan(WEB).structure  # type: ignore[arg-type]

    def test_whether_the_machine_drains_is_told_by_a_server_alone(self) -> None:
        serves, drains = plan(WEB), plan(WEB, replace(OPTIONS, draining=True))
        assert serves.structure == drains.structure
        weights = [routing.backends[IN_SERVICE].servers["machine"].weight for routing in (serves, drains)]
        assert weights == [1, 0]
        assert plan(WEB | {"web/weight/1": "7"}).backends[IN_SERVICE] is serves.backends[IN_SERVICE]

    def test_it_is_written_where_haproxy_can_be_asked(self) -> None:
        routing = plan(WEB)
        assert f"\n    description structure={routing.structure}\n" in config(routing)
        assert "@" not in config(routing).replace(routing.structure, "")

    def test_no_two_sections_have_one_name(self) -> None:
        """Not a frontend and a `defaults` either: HAProxy 3.3 and later refuse that."""
        services = {
            "web/scheme": "http-and-https",
            "web/host_port": "9000",
            "db/scheme": "tcp",
            "db/host_port": "5432",
            "db/sni": "db.x",
        }
        options = replace(OPTIONS, certificates=True, forwards={20000: Endpoint("172.17.0.2", 80)})
        routers = plan(services, options, {SSL_SUPPORT: "true"})
        balancer = plan_balancer(directory(services), replace(OPTIONS, listen=("127.0.0.1:80",)))
        for routing in (routers, balancer):
            found = re.findall(r"^(?:defaults|frontend|backend|listen) (\S+)", config(routing), re.MULTILINE)
            assert len(found) > 4
            assert len(found) == len(set(found))
        assert {"http", "https", "sni", "port-9000", "port-5432", "forward-20000"} <= set(
            re.findall(r"^(?:frontend|listen) (\S+)", config(routers), re.MULTILINE)
        )

    def test_the_order_of_the_keys_does_not_matter(self) -> None:
        keys = listed(WEB | {"api/scheme": "http", "api/hosts/1": "10.0.0.7:80"})
        forwards, backwards = (plan_routing(parse_directory(items), OPTIONS) for items in (keys, keys[::-1]))
        assert forwards == backwards
        assert forwards.files() == backwards.files()


class TestServices:
    def test_backends_have_every_service_with_a_scheme(self) -> None:
        routing = plan(WEB | {"empty/scheme": "tcp", "none/hosts/1": "10.0.0.7:80"})
        found = {backend.name: backend.mode for backend in routing.backends.values()}
        assert found == {IN_SERVICE: "http", "service-empty": "tcp", "service-web": "http"}
        assert routing.backends["service-empty"].servers == {}

    def test_servers_are_named_after_instance_and_endpoint(self) -> None:
        routing = plan({"web/scheme": "http", "web/hosts/sea-01:web": "10.0.0.5:80", "web/hosts/_": "[2001:db8::1]:80"})
        assert list(routing.backends["service-web"].servers) == ["_5F:2001_3Adb8_3A_3A1:80", "sea-01_3Aweb:10.0.0.5:80"]

    def test_weights_and_drains(self) -> None:
        routing = plan(WEB | {"web/weight/1": "7", "web/weight/2": "9", "web/drain/2": ""})
        assert [server.weight for server in routing.backends["service-web"].servers.values()] == [7, 0]

    def test_maps_hold_what_is_reached_by_name(self) -> None:
        schemes = {"http": "http", "https": "https", "both": "http-and-https", "tcp": "tcp", "hidden": "http"}
        keys = {f"{name}/scheme": scheme for name, scheme in schemes.items()} | {"hidden/private": ""}
        routing = plan(keys)
        assert text_of(routing, "hosts").split() == [
            "both.",
            "service-both",
            "http.",
            "service-http",
            "https.",
            "service-https",
        ]
        assert text_of(routing, "paths").startswith("/both/ service-both\n")
        assert text_of(routing, "https_only") == "service-https 1\n"
        assert text_of(routing, "over_tls") == "service-both 1\nservice-https 1\n"

    def test_what_leads_back_to_a_router_is_no_instance(self) -> None:
        keys = {
            "web/scheme": "http",
            "web/host_port": "9000",
            "web/hosts/own": "10.0.0.1:80",
            "web/hosts/own-port": "10.0.0.1:9000",
            "web/hosts/loopback": "127.0.0.1:81",
            "web/hosts/neighbour": "10.0.0.2:80",
            "web/hosts/unused": "10.0.0.1:443",
            "web/hosts/forward": "10.0.0.1:20000",
            "web/hosts/good": "10.0.0.2:8000",
            "web/hosts/stranger": "10.0.0.3:80",
        }
        routing = plan(keys, others={"/machines/sea-02": '{"address": "10.0.0.2"}'})
        names = sorted(server.partition(":")[0] for server in routing.backends["service-web"].servers)
        assert names == ["forward", "good", "stranger", "unused"]
        assert [problem.key.rpartition("/")[2] for problem in routing.problems] == [
            "loopback",
            "neighbour",
            "own",
            "own-port",
        ]

    def test_a_thousand_services_need_no_longer_than_they_should(self) -> None:
        catalog = Catalog(listed({f"s{number}/scheme": "http" for number in range(1000)}))
        first = plan_routing(catalog.directory(), OPTIONS)
        catalog.apply([Entry("/services/s7/hosts/1", "10.0.0.5:80", 9999, 9999)])
        second = plan_routing(catalog.directory(), OPTIONS, first)
        assert [name for name, backend in second.backends.items() if backend is not first.backends[name]] == [
            "service-s7"
        ]
        assert second.head is first.head


class TestDefault:
    def test_a_service_that_http_may_go_to(self) -> None:
        routing = plan(WEB, others={DEFAULT_SERVICE: "web"})
        assert config(routing).count(" str(service-web)") == 1
        assert not routing.problems

    @pytest.mark.parametrize("changed", [{"web/scheme": "tcp"}, {"web/private": ""}, {"web/scheme": "bad"}])
    def test_others_are_reported(self, changed: dict[str, str]) -> None:
        routing = plan(WEB | changed, others={DEFAULT_SERVICE: "web"})
        assert " str(" not in config(routing)
        assert [problem.key for problem in routing.problems] == [DEFAULT_SERVICE]
        assert [problem.key for problem in plan({}, others={DEFAULT_SERVICE: "web"}).problems] == [DEFAULT_SERVICE]


class TestTls:
    def test_it_takes_both_the_word_and_a_certificate(self) -> None:
        keys = {"shop/scheme": "https"}
        with_certificates = replace(OPTIONS, certificates=True)
        assert "frontend https" in config(plan(keys, with_certificates, SSL_ON))
        assert "frontend https" not in config(plan(keys, OPTIONS, SSL_ON))
        assert "frontend https" not in config(plan(keys, with_certificates))

    def test_what_is_missing_is_said_by_whom_it_concerns(self) -> None:
        keys = {"shop/scheme": "https", "shop/host_port": "9443"}
        everywhere = plan(keys, replace(OPTIONS, certificates=True))
        assert ([problem.key for problem in everywhere.problems], everywhere.local_problems) == (
            ["/services/shop/scheme"],
            (),
        )
        here = plan(keys, OPTIONS, SSL_ON)
        assert here.problems == ()
        assert [problem.key for problem in here.local_problems] == [SSL_SUPPORT, "/services/shop/host_port"]
        assert "port-9443" not in config(here)
        assert plan(keys, replace(OPTIONS, certificates=True), SSL_ON).problems == ()


class TestClaims:
    def claim(self, *keys: tuple[str, str, int, int], options: RouterOptions = OPTIONS) -> Routing:
        """Return the plan for keys with their create and modify revisions."""
        entries = [Entry(f"/services/{key}", value, created, put) for key, value, created, put in keys]
        return plan_routing(parse_directory(entries), options)

    def test_the_first_to_claim_a_port_keeps_it(self) -> None:
        routing = self.claim(
            ("new/scheme", "tcp", 50, 50),
            ("new/host_port", "9000", 51, 51),
            ("old/scheme", "tcp", 1, 1),
            # An old service whose port was changed to one that is taken.
            ("old/host_port", "9000", 2, 99),
        )
        assert "frontend port-9000 from tcp-mode\n    bind :9000\n    default_backend service-new\n" in config(routing)
        assert config(routing).count("bind :9000") == 1
        assert [(problem.service, problem.key) for problem in routing.problems] == [("old", "/services/old/host_port")]
        assert "belongs to new" in routing.problems[0].reason

    def test_on_equal_terms_the_older_service_has_it_then_the_first_by_name(self) -> None:
        def owner(created: int) -> str:
            routing = self.claim(
                ("b/scheme", "tcp", 5, 5),
                ("b/host_port", "9000", 7, 7),
                ("a/scheme", "tcp", created, created),
                ("a/host_port", "9000", 7, 7),
            )
            return config(routing).partition("default_backend service-")[2].partition("\n")[0]

        assert [owner(6), owner(5), owner(4)] == ["b", "a", "a"]

    def test_one_without_a_scheme_claims_nothing(self) -> None:
        routing = self.claim(("a/host_port", "9000", 1, 1), ("b/scheme", "tcp", 2, 2), ("b/host_port", "9000", 2, 2))
        assert "default_backend service-b" in config(routing)
        assert not routing.problems

    @pytest.mark.parametrize("port", [80, 81, 443, 444, 8443, 8444, 20000, 20999])
    def test_the_routers_own_ports_are_nobodys(self, port: int) -> None:
        routing = self.claim(("a/scheme", "tcp", 1, 1), ("a/host_port", str(port), 1, 1))
        assert f"port-{port}" not in config(routing)
        assert "the routers' own" in routing.problems[0].reason

    def test_a_port_that_is_taken_here_stays_its_claimants_elsewhere(self) -> None:
        keys = (
            ("a/scheme", "tcp", 1, 1),
            ("a/host_port", "9000", 1, 1),
            ("b/scheme", "tcp", 2, 2),
            ("b/host_port", "9000", 2, 2),
        )
        here = self.claim(*keys, options=replace(OPTIONS, taken_ports=frozenset({9000})))
        assert "bind :9000" not in config(here)
        assert [problem.service for problem in here.local_problems] == ["a"]
        assert [problem.service for problem in here.problems] == ["b"]

    def test_a_tls_name_is_the_first_ones_too(self) -> None:
        routing = self.claim(
            ("old/scheme", "tcp", 1, 1),
            ("old/sni", "x.y, a.b", 1, 99),
            ("new/scheme", "tcp", 50, 50),
            ("new/sni", "a.b, c.d", 50, 50),
        )
        assert text_of(routing, "sni") == "a.b service-new\nc.d service-new\nx.y service-old\n"
        assert [problem.service for problem in routing.problems] == ["old"]

    def test_names_of_those_who_may_have_none_are_free(self) -> None:
        routing = self.claim(
            ("hidden/scheme", "tcp", 1, 1),
            ("hidden/private", "", 1, 1),
            ("hidden/sni", "a.b", 1, 1),
            ("http/scheme", "http", 2, 2),
            ("http/sni", "a.b", 2, 2),
            ("good/scheme", "tcp", 3, 3),
            ("good/sni", "a.b", 3, 3),
        )
        assert text_of(routing, "sni") == "a.b service-good\n"

    def test_without_tls_names_nobody_listens_for_them(self) -> None:
        assert "frontend sni" not in config(plan(WEB))
        assert "frontend sni" not in config(plan(WEB | {"web/sni": "a.b"}))


class TestBalancer:
    def test_every_machine_with_an_address(self) -> None:
        others = {
            "/machines/sea-01": '{"address": "10.0.0.1"}',
            "/machines/sea-02": '{"address": "10.0.0.2", "state": "draining"}',
            "/machines/sea-03": '{"address": "10.0.0.3", "state": "down"}',
            "/machines/sea-04": "{}",
        }
        options = RouterOptions(listen=("127.0.0.1:8080", "0.0.0.0:81", "[::1]:82"), machine_port=81)
        routing = plan_balancer(directory({}, others), options)
        machines = routing.backends["machines"]
        assert [(server.name, server.weight) for server in machines.servers.values()] == [
            ("sea-01:10.0.0.1:81", 100),
            ("sea-02:10.0.0.2:81", 0),
            ("sea-03:10.0.0.3:81", 0),
        ]
        assert machines.cuts
        assert config(routing).count("send-proxy-v2") == 3
        assert "    bind 127.0.0.1:8080\n    bind 0.0.0.0:81\n    bind [::1]:82\n" in config(routing)
        assert list(routing.files()) == ["haproxy.cfg"]

    def test_machines_are_no_structure(self) -> None:
        options = RouterOptions(listen=("127.0.0.1:8080",))
        one = plan_balancer(directory({}, {"/machines/a": '{"address": "10.0.0.1"}'}), options)
        assert one.structure == plan_balancer(directory({}), options).structure
        assert one.structure != plan_balancer(directory({}), replace(options, listen=("127.0.0.1:81",))).structure

    @pytest.mark.parametrize("listen", ["", "8080", ":8080", "here:8080", "127.0.0.1:0", "127.0.0.1:80\n"])
    def test_where_nobody_can_listen(self, listen: str) -> None:
        if listen.endswith("\n"):
            # White space around does no harm: the line is written anew.
            assert "bind 127.0.0.1:80\n" in config(plan_balancer(directory({}), RouterOptions(listen=(listen,))))
            return
        with pytest.raises(ValueError, match=r"port|address"):
            plan_balancer(directory({}), RouterOptions(listen=(listen,)))


class TestWords:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("web-1.a", "web-1.a"),
            ("sea-01:web", "sea-01_3Aweb"),
            ("_3A", "_5F3A"),
            (" \n\\'\"#", "_20_0A_5C_27_22_23"),
            ("ä\udcff", "_C3_A4_FF"),
        ],
    )
    def test_names_are_escaped(self, text: str, name: str) -> None:
        assert escape(text) == name

    def test_and_never_collide(self) -> None:
        ids = [":", "_3A", "_5F3A", "_", "%3A", "a:1", "a_3A1", "a"]
        names = {server_name(name, Endpoint("10.0.0.1", 80)) for name in ids}
        assert len(names) == len(ids)

    def test_paths(self) -> None:
        assert quote_path("/a b/#$c") == "'/a b/#$c'"
        for path in ("/a'b", "/a\nb", ""):
            with pytest.raises(ValueError, match="can't stand"):
                quote_path(path)
