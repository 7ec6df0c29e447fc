"""From the servers that HAProxy has to those of a plan."""

from __future__ import annotations

import pytest

from argosy.model import Endpoint
from argosy.routing.changes import (
    ActualServer,
    Change,
    loaded_structure,
    parse_info,
    parse_servers_state,
    plan_changes,
)
from argosy.routing.values import Backend, Routing, Server

HEADING = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
AT = Endpoint("10.0.0.5", 80)
CHECK = "check inter 2000ms"


def wanted(*servers: Server, cuts: bool = False) -> Routing:
    backend = Backend("service-web", "http", {server.name: server for server in servers}, cuts)
    return Routing("x", {backend.name: backend})


def there(*servers: ActualServer) -> dict[str, dict[str, ActualServer]]:
    return {"service-web": {server.name: server for server in servers}}


def row(name: str, op: int = 2, admin: int = 0, weight: int = 100, check: int = 6, address: str = "10.0.0.5") -> str:
    return f"3 service-web 1 {name} {address} {op} {admin} {weight} 1 0 6 3 2 {check} 0 0 0 - 80 - 0 0 - - 0"


class TestParsing:
    def test_a_server(self) -> None:
        found = parse_servers_state(f"1\n{HEADING}\n{row('a:10.0.0.5:80', weight=7)}\n\n")
        assert found == there(ActualServer("a:10.0.0.5:80", AT, 7))

    @pytest.mark.parametrize("admin", [0x01, 0x02, 0x04, 0x20, 0x09])
    def test_maintenance(self, admin: int) -> None:
        found = parse_servers_state(f"1\n{HEADING}\n{row('a', op=0, admin=admin)}\n")["service-web"]["a"]
        assert (found.maintenance, found.up, found.ready) == (True, False, False)

    def test_draining(self) -> None:
        found = parse_servers_state(f"1\n{HEADING}\n{row('a', admin=8)}\n")["service-web"]["a"]
        assert (found.draining, found.maintenance, found.ready) == (True, False, False)

    @pytest.mark.parametrize(("check", "unchecked"), [(0, False), (2, True), (6, False), (14, False), (7, False)])
    def test_whether_its_check_runs(self, check: int, unchecked: bool) -> None:
        found = parse_servers_state(f"1\n{HEADING}\n{row('a', check=check)}\n")["service-web"]["a"]
        assert found.unchecked == unchecked

    def test_other_columns_may_come(self) -> None:
        text = f"1\n{HEADING.replace('be_name', 'new be_name')}\n{row('a').replace('service', 'x service')}\n"
        assert parse_servers_state(text) == there(ActualServer("a", AT, 100))

    def test_none(self) -> None:
        assert parse_servers_state(f"1\n{HEADING}\n\n") == {}

    def test_ipv6(self) -> None:
        found = parse_servers_state(f"1\n{HEADING}\n{row('a', address='2001:db8::1')}\n")
        assert found["service-web"]["a"].endpoint == Endpoint("2001:db8::1", 80)

    @pytest.mark.parametrize(
        "text",
        ["", "1", f"2\n{HEADING}\n", "Can't find backend.\n", f"1\n{HEADING}\n3 web\n", f"1\n{HEADING}\n3 w 1 a b x"],
    )
    def test_anything_else(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"\w"):
            parse_servers_state(text)

    def test_info(self) -> None:
        info = parse_info("Name: HAProxy\nVersion: 2.6.12\nnode: sea-01\ndescription: structure=abc\n\n")
        assert info == {"Name": "HAProxy", "Version": "2.6.12", "node": "sea-01", "description": "structure=abc"}
        assert loaded_structure(info) == "abc"
        assert loaded_structure({"description": "of somebody else"}) == ""
        assert loaded_structure({}) == ""


class TestPlanning:
    def test_nothing(self) -> None:
        assert plan_changes(there(ActualServer("a", AT, 5)), wanted(Server("a", AT, 5))) == []

    def test_new_ones(self) -> None:
        server = Server("a", AT, 5, CHECK)
        (change,) = plan_changes({}, wanted(server))
        assert (change.path, change.what, change.settles) == ("service-web/a", "add, weight 5", True)
        assert change.commands == (
            "add server service-web/a 10.0.0.5:80 weight 5 check inter 2000ms",
            "enable health service-web/a",
            "set server service-web/a state ready",
        )

    def test_one_without_a_check(self) -> None:
        (change,) = plan_changes({}, wanted(Server("a", Endpoint("2001:db8::1", 80), 5)))
        assert change.commands == (
            "add server service-web/a [2001:db8::1]:80 weight 5",
            "set server service-web/a state ready",
        )

    def test_weights(self) -> None:
        (change,) = plan_changes(there(ActualServer("a", AT, 5)), wanted(Server("a", AT, 0)))
        assert change == Change("service-web/a", "weight 0", ("set server service-web/a weight 0",))

    @pytest.mark.parametrize("state", ["maintenance", "draining", "unchecked"])
    def test_those_that_are_not_ready(self, state: str) -> None:
        server = Server("a", AT, 5, CHECK)
        found = ActualServer("a", AT, 7, **{state: True})
        (change,) = plan_changes(there(found), wanted(server))
        assert (change.path, change.what, change.settles) == ("service-web/a", "make ready, weight 5", True)
        assert change.commands == (
            "set server service-web/a weight 5",
            "enable health service-web/a",
            "set server service-web/a state ready",
        )

    def test_one_that_is_down_by_its_check_is_left_alone(self) -> None:
        assert plan_changes(there(ActualServer("a", AT, 5, up=False)), wanted(Server("a", AT, 5))) == []

    def test_those_that_go(self) -> None:
        (change,) = plan_changes(there(ActualServer("a", AT, 5)), wanted())
        commands = ("set server service-web/a state maint", "del server service-web/a")
        assert change == Change("service-web/a", "remove", commands, settles=True)

    def test_those_that_wait_for_their_connections(self) -> None:
        (change,) = plan_changes(there(ActualServer("a", AT, 5, maintenance=True)), wanted())
        assert change == Change("service-web/a", "delete", ("del server service-web/a",), settles=False)

    def test_those_that_would_cut_their_connections(self) -> None:
        (change,) = plan_changes(there(ActualServer("a", AT, 5)), wanted(cuts=True))
        assert change == Change("service-web/a", "drain", ("set server service-web/a state drain",))
        assert str(change) == "service-web/a: drain"
        assert plan_changes(there(ActualServer("a", AT, 5, draining=True)), wanted(cuts=True)) == []

    def test_what_comes_is_added_before_anything_goes(self) -> None:
        one, two = (Backend(name, "http", {"b": Server("b", AT, 1)}) for name in ("one", "two"))
        gone = {"a": ActualServer("a", AT, 1)}
        changes = plan_changes({"one": gone, "two": gone}, Routing("x", {"one": one, "two": two}))
        assert [change.what for change in changes] == ["add, weight 1", "add, weight 1", "remove", "remove"]

    def test_other_backends_are_left_alone(self) -> None:
        assert plan_changes({"forward-20000": {"container": ActualServer("container", AT, 1)}}, wanted()) == []

    def test_they_can_be_read(self) -> None:
        found = there(ActualServer("b", AT, 1), ActualServer("c", AT, 1, maintenance=True), ActualServer("d", AT, 1))
        found["service-web"]["e"] = ActualServer("e", AT, 1, draining=True)
        changes = plan_changes(found, wanted(Server("a", AT, 5), Server("b", AT, 2), Server("e", AT, 3)))
        assert [str(change) for change in changes] == [
            "service-web/a: add, weight 5",
            "service-web/b: weight 2",
            "service-web/e: make ready, weight 3",
            "service-web/c: delete",
            "service-web/d: remove",
        ]
