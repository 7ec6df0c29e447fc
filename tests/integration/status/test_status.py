"""A cluster's status from real ssh servers and a real etcd; only the machine's own command is a stand-in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest
from etcd_cluster import EtcdCluster
from ssh_server import requires_namespaces, requires_sshd
from telling_machines import Lab, telling_lab
from waiting import until

from argosy import etcd
from argosy.etcd import rpc
from argosy.etcd.alarms import NOSPACE, Alarm
from argosy.machine import asking
from argosy.model import MachineState
from argosy.ssh.host import Hosts
from argosy.status import members, observing

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, requires_sshd, requires_namespaces]


@pytest.fixture
def lab(own_cluster: EtcdCluster) -> Iterator[Lab]:
    with telling_lab(own_cluster) as made:
        yield made


def test_all_well(lab: Lab) -> None:
    shown = lab.observe()
    assert shown.problems() == []
    assert [machine.member.healthy for machine in shown.machines if machine.member] == [True] * 3
    assert shown.releases == ["0.1.3"]


def test_every_trouble_at_once_is_told(lab: Lab) -> None:
    lab.servers["air-01"].stop()
    lab.says("air-02", state="waiting", missing_secrets=["token"])
    lab.does("air-03", "echo broken >&2; exit 3")
    lab.cluster.kill("air-01")
    shown = lab.observe()
    states = [machine.state for machine in shown.machines]
    assert states == [MachineState.UNREACHABLE, MachineState.WAITING, MachineState.FAILED]
    problems = shown.problems()
    assert problems[1:] == [
        "air-01: its etcd member: Connection refused",
        "air-02: waiting: lacks the secrets token; run inv cluster.upload-secrets",
        "air-03: failed: /opt/air/bin/air status ended with 3: broken",
    ]
    assert problems[0].startswith("air-01: unreachable: no ssh connection to 127.0.8.1:")
    assert not any("\n" in line for line in problems)


def test_without_quorum_the_members_are_listed_still(lab: Lab) -> None:
    lab.cluster.kill("air-01", "air-02")
    shown = lab.observe()
    assert [machine.member is not None for machine in shown.machines] == [True] * 3
    assert "etcd of cluster test does not answer" in shown.etcd_reason


def test_an_alarm_of_etcd_is_no_health(lab: Lab) -> None:
    with etcd.connect(lab.cluster.settings(), lab.cluster.machines) as store:
        member = next(member for member in store.members() if member.name == "air-02")
        request = rpc.etcdrpc.AlarmRequest(action=1, memberID=int(member.id, 16), alarm=1)
        store._call(lambda client: rpc.etcdrpc.MaintenanceStub(client.channel).Alarm(request, 5))
    shown = lab.observe()
    assert shown.problems() == [Alarm("air-02", NOSPACE).reason]
    assert (shown.healthy, shown.to_json()["etcd"]["healthy"]) == (False, False)
    lab.cluster.ctl("alarm", "disarm")
    assert lab.observe().healthy


def test_without_etcd_at_all(lab: Lab) -> None:
    lab.cluster.stop()
    shown = lab.observe()
    assert shown.problems() == [shown.etcd_reason]
    assert shown.etcd_reason.startswith("etcd does not answer on any machine (air-01: Connection refused; ")


def test_members_and_status_through_an_entry_node(lab: Lab) -> None:
    # Both ssh and etcd go through the second machine's sshd.
    settings = lab.settings(entry_node=f"root@127.0.8.2:{lab.port}")
    found = members.observe(settings, lab.cluster.machines)
    assert [member.name for member in found if member.healthy] == ["air-01", "air-02", "air-03"]
    assert len(members.rows(found)[0]) == len(members.COLUMNS)
    assert members.to_json(found)[0]["peer_urls"] == (f"https://127.0.8.1:{lab.cluster.peer_port}",)
    lab.servers["air-03"].stop()
    with Hosts(settings, lab.cluster.machines) as hosts:
        shown = observing.observe(settings, hosts)
    assert shown.machines[2].state is MachineState.UNREACHABLE
    assert shown.machines[0].member is not None


def test_ctrl_c_ends_it_though_a_machine_does_not_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "STATUS_SECONDS", 3600.0)
    asked = lab.cluster.folder / "asked"
    lab.does("air-02", f"touch {asked}; exec sleep 3600")

    def interrupt() -> None:
        until(asked.exists)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        lab.observe()
    waiting.join()
    assert asked.exists()
