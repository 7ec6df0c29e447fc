from __future__ import annotations

from pathlib import Path

import pytest
from raised import raises

from argosy.config.loading import Settings, load
from argosy.errors import CommandFailed, ConfigError, HostsFailed, HostUnreachable
from argosy.fanout import Outcome
from argosy.machine import reach
from argosy.model import Machine
from argosy.ssh.commands import Result
from argosy.ssh.host import Host


def result(code: int = 0, stdout: str = "", stderr: str = "") -> Outcome[Result]:
    return Outcome(Result(host="x", command="c", stdout=stdout, stderr=stderr, code=code, seconds=0.25))


@pytest.fixture
def settings() -> Settings:
    services = {"web": {"image": "web"}, "worker": {"image": "web", "machines": ["air-02", "air-03"]}}
    section = {"images": {"web": {"context": "web"}}, "services": services, "scheduled": {"job": {"image": "web"}}}
    return load({"clusters": {"here": section}})


def test_all_units_of_the_system_when_no_service_is_named(settings: Settings) -> None:
    assert reach.units(settings, []) == ["air-*.service"]


def test_services_and_our_own_units_are_named_by_their_short_names(settings: Settings) -> None:
    assert reach.units(settings, ["web", "etcd"]) == ["air-web.service", "air-etcd.service"]


def test_a_service_of_some_machines_is_entered_there(settings: Settings) -> None:
    assert reach.machines_with(settings, "worker") == ["air-02", "air-03"]
    assert reach.machines_with(settings, "web") == reach.machines_with(settings, "unknown") == []


def test_an_unknown_service_names_the_nearest_and_all(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"wrker: .*'worker'.*web, worker, secrets, etcd, installer"):
        reach.units(settings, ["wrker"])


def test_a_scheduled_service_is_elsewhere(settings: Settings) -> None:
    with raises(ConfigError, "scheduled", "inv service.journal job", path="job"):
        reach.units(settings, ["web", "job"])
    with raises(ConfigError, "inv service.shell job", path="job"):
        reach.enter(Host(Machine("air-01", "10.0.0.1"), settings.ssh, Path("none"), None), settings, "shell", "job")


def test_the_journal_is_asked_by_unit() -> None:
    argv = reach.journal_command(["air-a.service", "air-b.service"], lines=5, follow=True)
    assert argv[0] == "journalctl"
    assert argv[-3:] == ["--unit=air-a.service", "--unit=air-b.service", "--follow"]
    assert "--lines=5" in argv
    assert "--follow" not in reach.journal_command(["air-a.service"], lines=5, follow=False)


def test_every_line_is_told_with_its_machine_and_failures_with_their_code() -> None:
    outcomes = {
        "a": result(stdout="one\ntwo\n"),
        "b": result(3, stderr="no\n"),
        "c": Outcome(error=OSError("gone")),
    }
    assert list(reach.outcome_lines(outcomes)) == [
        ("a", "one"),
        ("a", "two"),
        ("b", "no"),
        ("b", "ended with 3"),
        ("c", "gone"),
    ]


def test_json_tells_the_streams_apart() -> None:
    assert reach.outcome_json(result(1, "out", "err")) == {"code": 1, "stdout": "out", "stderr": "err", "seconds": 0.25}
    assert reach.outcome_json(Outcome(error=OSError("gone"))) == {"error": "gone"}


def test_failures_are_refused_together() -> None:
    reach.refuse_failures("x", {"a": result()})
    with pytest.raises(HostsFailed) as caught:
        reach.refuse_failures("x", {"a": result(), "b": result(2), "c": Outcome(error=HostUnreachable("c", "refused"))})
    assert set(caught.value.failures) == {"b", "c"}
    assert isinstance(caught.value.failures["b"], CommandFailed)


def test_one_machine_alone_fails_with_its_own_error() -> None:
    with pytest.raises(CommandFailed, match="a: 'x' ended with 2"):
        reach.refuse_failures("'x'", {"a": result(2)})
    with pytest.raises(HostUnreachable):
        reach.refuse_failures("'x'", {"c": Outcome(error=HostUnreachable("c", "refused"))})
