"""What keys and values mean, and what becomes of bad ones."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.etcd import Entry
from argosy.model import Endpoint
from argosy.schema import (
    DEFAULT_SERVICE,
    SSL_SUPPORT,
    Catalog,
    Check,
    MachineRecord,
    Scheme,
    Service,
    drain_key,
    generation_key,
    instance_key,
    machine_key,
    parse_check,
    parse_directory,
    parse_endpoint,
    parse_machine,
    parse_port,
    parse_service,
    parse_sni,
    parse_weight,
    router_key,
    router_problems_key,
    service_key,
    valid_name,
    weight_key,
)
from argosy.schema.services import MAX_INSTANCES
from argosy.schema.values import parse_id

HOST = "10.0.0.1:80"


def entry(key: str, value: str = "", revision: int = 1, lease: int = 0) -> Entry:
    return Entry(key, value, revision, revision, lease=lease)


def read(attributes: dict[str, str], name: str = "web") -> tuple[Service, list[tuple[str, str]]]:
    """Return the service, and its problems as (attribute, reason)."""
    service, problems = parse_service(
        name, [entry(service_key(name, key), attribute) for key, attribute in attributes.items()]
    )
    assert service is not None
    return service, [(problem.key.removeprefix(service_key(name, "")), problem.reason) for problem in problems]


class TestKeys:
    def test_they_are_those_of_the_design(self) -> None:
        assert service_key("web", "scheme") == "/services/web/scheme"
        assert instance_key("web", "sea-01:web") == "/services/web/hosts/sea-01:web"
        assert weight_key("web", "1") == "/services/web/weight/1"
        assert generation_key("web", 7) == "/services/web/generation/7"
        assert drain_key("web", "1") == "/services/web/drain/1"
        assert machine_key("sea-01") == "/machines/sea-01"
        assert router_key("sea-01") == "/routers/sea-01"
        assert router_problems_key("sea-01") == "/routers/sea-01/problems"


class TestValues:
    @pytest.mark.parametrize("name", ["a", "api-v2", "a.b", "_x", "0", "a_b", "x" * 200, "a--b"])
    def test_names(self, name: str) -> None:
        assert valid_name(name)

    @pytest.mark.parametrize(
        "name",
        ["", "A", "a.", ".a", "a..b", "-a", "a-", "a b", "a\n", "ä", "a/b", "a:b", "x" * 201, "a\udcff", "\u212aelvin"],
    )
    def test_no_names(self, name: str) -> None:
        assert not valid_name(name)

    @pytest.mark.parametrize(
        ("text", "address", "port"),
        [
            ("10.0.0.1:80", "10.0.0.1", 80),
            (" 10.0.0.1:65535\n", "10.0.0.1", 65535),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("169.254.0.1:80", "169.254.0.1", 80),
            ("[2001:DB8:0::1]:80", "2001:db8::1", 80),
            ("[::1]:80", "::1", 80),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1", 80),
        ],
    )
    def test_endpoints(self, text: str, address: str, port: int) -> None:
        assert parse_endpoint(text) == Endpoint(address, port)
        assert parse_endpoint(str(parse_endpoint(text))) == Endpoint(address, port)

    @pytest.mark.parametrize(
        "text",
        [
            *("", ":", ":80", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:080", "10.0.0.1:+8"),
            *("10.0.0.1:8 0", "10.0.0.1 :80", "10.0.0.1:80\nserver x", "10.0.0.01:80", "10.0.0:80", "web:80"),
            *("0.0.0.0:80", "0.0.0.1:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80", "240.0.0.1:80"),
            *("[ff02::1]:80", "[fe80::1]:80", "[fe80::1%eth0]:80", "[2001:db8::1%a b]:80", "[::ffff:0.0.0.0]:80"),
            *("2001:db8::1:80", "[10.0.0.1]:80", "[2001:db8::1]", "[[::1]]:80", "10.0.0.1:\u0668", "\u0661.0.0.1:80"),
            *("10.0.0.1:80\udcff", "\x0010.0.0.1:80", "[::ffff:224.0.0.1]:80", "10.0.0.1:" + "9" * 5000),
        ],
    )
    def test_no_endpoints(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^[ -~]{1,160}$"):
            parse_endpoint(text)

    @pytest.mark.parametrize("text", ["0", "-1", "65536", "01", "1.0", "0x10", "", " ", "1 2", "²"])
    def test_no_ports(self, text: str) -> None:
        with pytest.raises(ValueError, match="no port"):
            parse_port(text)

    def test_weights(self) -> None:
        assert [parse_weight(name) for name in ("0", "100\n", "256")] == [0, 100, 256]
        for text in ("257", "-1", "1.5", "00", "", "heavy"):
            with pytest.raises(ValueError, match="no weight"):
                parse_weight(text)

    def test_checks(self) -> None:
        assert parse_check("tcp") == Check("tcp")
        assert parse_check(" none\n") == Check("none")
        assert parse_check("http /health?deep=1&x=%20") == Check("http", "/health?deep=1&x=%20")
        assert parse_check("http / 204,200,200") == Check("http", "/", (200, 204))

    @pytest.mark.parametrize(
        "text",
        [
            *("", "udp", "tcp x", "http", "http health", "http /a b c", "http / 99", "http / 600", "http / 200-399"),
            *("http /'", 'http /"', "http /\\", "http /$HOME", "http /#", "http /ä", "http /\udcff", "http /a\x00"),
            *("http /" + "x" * 256, "http / " + "200," * 20 + "200", "http / 200,", "HTTP /"),
        ],
    )
    def test_no_checks(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^[ -~]{1,160}$"):
            parse_check(text)

    def test_tls_names(self) -> None:
        assert parse_sni("Mail.Example") == ("mail.example",)
        assert parse_sni("a.b, c.d\n\te.f,a.b") == ("a.b", "c.d", "e.f")
        for text in (
            "",
            " , ",
            "*.example",
            "a b!",
            "ä.example",
            "\u212a.example",
            "a" * 201,
            " ".join(map(str, range(101))),
        ):
            with pytest.raises(ValueError, match="server name"):
                parse_sni(text)

    def test_ids(self) -> None:
        assert parse_id("sea-01:web \udcff\n") == "sea-01:web \udcff\n"
        for text in ("", "a/b", "x" * 201, "ä" * 101):
            with pytest.raises(ValueError, match="its ID"):
                parse_id(text)


class TestServices:
    def test_everything(self) -> None:
        service, problems = read(
            {
                "scheme": "http\n",
                "hosts/b": "10.0.0.2:80",
                "hosts/a": HOST,
                "weight/a": "7",
                "drain/b": "",
                "host_port": "8080",
                "private": "false",
                "check": "http /ok",
            }
        )
        assert problems == []
        assert (service.scheme, service.host_port, service.private) == (Scheme.HTTP, 8080, True)
        assert service.check == Check("http", "/ok")
        first, second = service.instances
        assert (first.id, first.endpoint, first.weight, first.draining) == ("a", Endpoint("10.0.0.1", 80), 7, False)
        assert (second.id, second.weight, second.draining) == ("b", 100, True)

    @pytest.mark.parametrize(
        ("attributes", "reported"),
        [
            ({}, ["hosts/"]),
            ({"scheme": "HTTP"}, ["scheme"]),
            ({"scheme": ""}, ["scheme"]),
            ({"hosts/a": "10.0.0.1"}, ["hosts/", "hosts/a"]),
            ({"hosts/": HOST, "hosts/a/b": HOST}, ["hosts/", "hosts/", "hosts/a/b"]),
            ({"hosts/a": HOST, "weight/a": "x"}, ["weight/a"]),
            ({"hosts/a": HOST, "weight/b": "x", "drain/b": ""}, []),
            ({"hosts/a": HOST, "generation/7": "0", "generation/8": "256"}, []),
            ({"hosts/a": HOST, "generation/7": "257"}, ["generation/7"]),
            ({"hosts/a": HOST, "generation/0": "1", "generation/": "1"}, ["generation/", "generation/0"]),
            ({"hosts/a": HOST, "host_port": "0"}, ["host_port"]),
            ({"hosts/a": HOST, "check": "x"}, ["check"]),
            ({"hosts/a": HOST, "sni": "a.b"}, ["sni"]),
            ({"hosts/a": HOST, "privat": ""}, ["privat"]),
            ({"hosts/a": HOST, "private": ""}, ["host_port"]),
            ({"hosts/a": HOST, "scheme": "tcp"}, ["host_port"]),
            ({"hosts/a": HOST, "scheme": "tcp", "sni": "a.b"}, []),
            ({"hosts/a": HOST, "scheme": "tcp", "sni": "a.b", "private": ""}, ["host_port", "sni"]),
            ({"hosts/a": HOST, "scheme": "tcp", "sni": "*", "host_port": "1"}, ["sni"]),
        ],
    )
    def test_what_is_reported(self, attributes: dict[str, str], reported: list[str]) -> None:
        _, problems = read({"scheme": "http"} | attributes)
        assert [attribute for attribute, _ in problems] == reported

    def test_a_bad_value_costs_only_what_it_says(self) -> None:
        good, _ = read({"scheme": "http", "hosts/a": HOST})
        spoiled, _ = read(
            {
                "scheme": "http",
                "hosts/a": HOST,
                "hosts/b": "nowhere",
                "weight/a": "heavy",
                "host_port": "x",
                "check": "x",
                "sni": "*",
                "what": "",
            }
        )
        assert replace(spoiled, host_port_revision=0, sni_revision=0) == good

    def test_without_a_scheme_it_is_reported_and_kept(self) -> None:
        service, problems = read({"hosts/a": HOST})
        assert service.scheme is None
        assert [instance.id for instance in service.instances] == ["a"]
        assert problems == [("scheme", "not set, so the service is not routed")]

    @pytest.mark.parametrize("name", ["", "A", "a..b", "\udcff"])
    def test_a_bad_name_is_reported_once(self, name: str) -> None:
        entries = [entry(service_key(name, it), "http") for it in ("scheme", "x", "y")]
        service, problems = parse_service(name, entries)
        assert service is None
        assert [(problem.service, problem.key) for problem in problems] == [(name, service_key(name, ""))]

    def test_when_it_was_made_and_what_it_claimed(self) -> None:
        keys = [
            Entry(service_key("web", "scheme"), "http", 5, 50),
            Entry(service_key("web", "host_port"), "80", 6, 60),
            Entry(service_key("web", "sni"), "a.b", 7, 70),
            Entry(instance_key("web", "a"), HOST, 8, 80, lease=9),
        ]
        service, _ = parse_service("web", keys)
        assert service is not None
        assert (service.created, service.host_port_revision, service.sni_revision) == (5, 60, 70)
        assert service.instances[0].lease == 9

    def test_too_many_instances_leave_the_oldest(self) -> None:
        entries = [
            entry(instance_key("web", str(number)), HOST, MAX_INSTANCES + 5 - number)
            for number in range(MAX_INSTANCES + 2)
        ]
        service, problems = parse_service("web", [entry(service_key("web", "scheme"), "http"), *entries])
        assert service is not None
        assert len(service.instances) == MAX_INSTANCES
        assert {"0", "1"}.isdisjoint({instance.id for instance in service.instances})
        assert [problem.reason for problem in problems] == [
            f"{MAX_INSTANCES + 2} instances: only the {MAX_INSTANCES} oldest are used"
        ]

    def test_problems_can_be_printed(self) -> None:
        _, problems = parse_service("web", [entry("/services/web/hosts/a\n\udcff", "\udcff\n" * 100)])
        for problem in problems:
            str(problem).encode("ascii")
            assert "\n" not in str(problem)
            assert len(problem.reason) < 160


class TestMachines:
    def test_a_whole_one(self) -> None:
        value = {
            "address": "10.0.0.1",
            "role": "member",
            "release": "1.2.3",
            "state": "draining",
            "metadata": {"a": "b"},
        }
        assert parse_machine(entry("/machines/sea-01", json.dumps(value))) == MachineRecord(
            "sea-01", "10.0.0.1", "member", "1.2.3", "draining", {"a": "b"}
        )

    def test_what_stays_while_it_drains(self) -> None:
        value = {"state": "draining", "staying": ["db", 7]}
        found = parse_machine(entry("/machines/sea-01", json.dumps(value)))
        assert found == MachineRecord("sea-01", state="draining", staying=("db", "7"))
        assert parse_machine(entry("/machines/sea-01", '{"staying": "db"}')) == MachineRecord("sea-01")

    def test_what_is_left_out_or_no_text(self) -> None:
        value = {"release": 7, "metadata": {"n": 1, "s": "x"}, "else": []}
        assert parse_machine(entry("/machines/sea-01", json.dumps(value))) == MachineRecord(
            "sea-01", release="7", metadata={"n": "1", "s": "x"}
        )
        assert parse_machine(entry("/machines/sea-01", '{"metadata": 3}')) == MachineRecord("sea-01")

    @pytest.mark.parametrize(
        "value",
        [
            *("", "[]", "null", "{", '"x"', "\udcff", "[" * 100_000, '{"state": "gone"}', '{"state": 3}'),
            *('{"address": "web"}', '{"address": "0.0.0.0"}', '{"address": 7}', '{"address": ["10.0.0.1"]}'),
            "1" * 5000,
        ],
    )
    def test_bad_ones(self, value: str) -> None:
        problem = parse_machine(entry("/machines/sea-01", value))
        assert not isinstance(problem, MachineRecord)
        assert problem.key == "/machines/sea-01"

    def test_names(self) -> None:
        assert not isinstance(parse_machine(entry("/machines/", "{}")), MachineRecord)
        assert not isinstance(parse_machine(entry("/machines/a/b", "{}")), MachineRecord)


class TestDirectory:
    def test_what_is_followed(self) -> None:
        directory = parse_directory(
            [
                entry("/services/web/scheme", "http"),
                entry("/services/web/hosts/a", HOST),
                entry("/machines/sea-01", '{"address": "10.0.0.1"}'),
                entry(SSL_SUPPORT, "true\n"),
                entry(DEFAULT_SERVICE, "web"),
                entry("/config/services/else", "x"),
                entry("/settings/x", "y"),
                entry("/routers/sea-01", "7"),
                entry("/", "z"),
            ]
        )
        assert list(directory.services) == ["web"]
        assert list(directory.machines) == ["sea-01"]
        assert (directory.ssl_support, directory.default_service) == (True, "web")
        assert directory.problems == ()

    @pytest.mark.parametrize("value", ["TRUE", "1", "", "yes", "\udcff"])
    def test_ssl_support_is_true_or_false(self, value: str) -> None:
        directory = parse_directory([entry(SSL_SUPPORT, value)])
        assert not directory.ssl_support
        assert [problem.key for problem in directory.problems] == [SSL_SUPPORT]

    def test_a_default_that_is_no_name(self) -> None:
        directory = parse_directory([entry(DEFAULT_SERVICE, "a b")])
        assert (directory.default_service, [problem.key for problem in directory.problems]) == ("", [DEFAULT_SERVICE])

    def test_keys_without_an_attribute_are_reported(self) -> None:
        directory = parse_directory([entry("/services/web", "x"), entry("/services/", "x")])
        assert [problem.service for problem in directory.problems] == ["", "web", "web"]


KEYS = [
    *(
        f"/services/{name}/{attribute}"
        for name in ("a", "b", "B!")
        for attribute in ("scheme", "hosts/1", "host_port", "x")
    ),
    *("/machines/m", "/machines/m/n", SSL_SUPPORT, DEFAULT_SERVICE, "/services/a", "/settings/x"),
]
VALUES = ["http", "tcp", HOST, "7", "true", "a", '{"address": "10.0.0.1"}', "bad\n"]
CHANGES = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([*VALUES, None])), max_size=30)


class TestCatalog:
    @given(st.lists(CHANGES, max_size=5))
    def test_following_changes_ends_where_reading_it_all_does(
        self, batches: list[list[tuple[str, str | None]]]
    ) -> None:
        catalog, held, revision = Catalog(), dict[str, Entry](), 0
        for batch in batches:
            put, deleted = dict[str, Entry](), set[str]()
            for key, value in batch:
                revision += 1
                if value is None:
                    put.pop(key, None)
                    held.pop(key, None)
                    deleted.add(key)
                else:
                    first = held[key].create_revision if key in held else revision
                    put[key] = held[key] = Entry(key, value, first, revision)
                    deleted.discard(key)
            catalog.apply(put.values(), deleted)
            assert catalog.directory() == parse_directory(held.values())
        catalog.replace(held.values())
        assert catalog.directory() == parse_directory(held.values())

    @given(CHANGES, CHANGES)
    def test_replacing_forgets_the_rest(
        self, before: list[tuple[str, str | None]], after: list[tuple[str, str | None]]
    ) -> None:
        def listed(changes: list[tuple[str, str | None]], revision: int) -> list[Entry]:
            return [entry(key, value, revision) for key, value in dict(changes).items() if value is not None]

        catalog = Catalog(listed(before, 1))
        catalog.replace(listed(after, 2))
        assert catalog.directory() == parse_directory(listed(after, 2))

    def test_a_directory_is_of_its_moment(self) -> None:
        catalog = Catalog([entry("/services/a/scheme", "http")])
        before = catalog.directory()
        catalog.apply([entry("/services/b/scheme", "http")], ["/services/a/scheme"])
        assert list(before.services) == ["a"]
        assert list(catalog.directory().services) == ["b"]

    def test_what_did_not_change_is_the_same_object(self) -> None:
        keys = [entry("/services/a/scheme", "http"), entry("/services/b/scheme", "http")]
        catalog = Catalog(keys)
        before = catalog.directory().services
        catalog.apply([entry("/services/a/scheme", "tcp", 2), Entry("/services/b/scheme", "http", 1, 2)])
        after = catalog.directory().services
        assert after["a"] is not before["a"]
        assert after["b"] is before["b"]
        catalog.replace(keys)
        assert catalog.directory().services["b"] is before["b"]
