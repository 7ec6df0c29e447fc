"""The client of the Compute API, through Google's own library, against an API that fails in every way that it can."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argosy.config.loading import Settings, load
from argosy.errors import CloudError, ConfigError, DeadlineExceeded
from argosy.gce.compute.client import Compute
from compute_api import FakeCompute, Fault

pytestmark = pytest.mark.integration

DISK = {"name": "d", "sizeGb": "10"}


@pytest.fixture
def fake() -> Iterator[FakeCompute]:
    with FakeCompute() as running:
        yield running
        running.faults.release()


def settings_for(fake: FakeCompute, root: Path, **gce: Any) -> Settings:
    where = {"project": "demo-project", "zone": "europe-west1-b", "emulator": fake.url, "attempts": 4, **gce}
    return load({"clusters": {"cloud": {"provider": "gce"}}, "gce": where}, root=root)


@pytest.fixture
def compute(fake: FakeCompute, tmp_path: Path) -> Iterator[Compute]:
    with Compute.opened(settings_for(fake, tmp_path)) as opened:
        yield opened


def test_what_is_made_is_found_and_gone_when_deleted(fake: FakeCompute, compute: Compute) -> None:
    assert compute.insert("disks", DISK)
    assert not compute.insert("disks", DISK)
    found = compute.all("disks").get("d")
    assert found is not None
    assert found["sizeGb"] == "10"
    assert set(compute.all("disks")) == {"d"}
    assert compute.delete("disks", "d")
    assert not compute.delete("disks", "d")
    assert "d" not in compute.all("disks")
    assert fake.invalid == []


@pytest.mark.parametrize("deed", ["lose", "drop", "repeat"])
def test_an_answer_that_is_lost_or_a_request_that_comes_twice_makes_one(
    fake: FakeCompute, compute: Compute, deed: str
) -> None:
    fake.faults.add(Fault("disks.insert", deed, times=2))
    assert compute.insert("disks", DISK)
    assert len({request.query["requestId"] for request in fake.requests if request.method == "disks.insert"}) == 1
    assert {request.status for request in fake.requests} == {200}
    assert len(fake.state.all("operations")) == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "rateLimitExceeded"), (500, "x"), (503, "x"), (403, "rateLimitExceeded")]
)
def test_what_passes_is_asked_again(fake: FakeCompute, compute: Compute, status: int, reason: str) -> None:
    fake.faults.add(Fault("disks.insert", "fail", times=2, status=status, reason=reason))
    assert compute.insert("disks", DISK)
    assert fake.changes() == ["disks.insert"] * 3


@pytest.mark.parametrize(
    ("status", "reason", "fix"),
    [
        (403, "forbidden", "roles/compute.admin"),
        (403, "quotaExceeded", "iam-admin/quotas"),
        (403, "accessNotConfigured", "gcloud services enable"),
        (401, "unauthenticated", "gcloud auth application-default login"),
        (404, "notFound", "gce.project"),
        (412, "conditionNotMet", "the same command again"),
        (503, "backendError", "create d"),
    ],
)
def test_a_refusal_is_one_line_with_the_fix(
    fake: FakeCompute, compute: Compute, status: int, reason: str, fix: str
) -> None:
    fake.faults.add(Fault("disks.insert", "fail", times=9, status=status, reason=reason))
    with pytest.raises(CloudError, match=fix) as caught:
        compute.insert("disks", DISK)
    assert "\n" not in str(caught.value)
    assert caught.value.reason == reason
    assert fake.state.all("disks") == {}


def test_an_operation_that_ends_with_an_error_says_so(fake: FakeCompute, compute: Compute) -> None:
    fake.faults.add(Fault("disks.insert", "end", reason="QUOTA_EXCEEDED"))
    with pytest.raises(CloudError, match="iam-admin/quotas"):
        compute.insert("disks", DISK)


def test_an_operation_that_takes_too_long_goes_on_and_is_found_again(fake: FakeCompute, tmp_path: Path) -> None:
    fake.faults.add(Fault("disks.insert", "stall"))
    with Compute.opened(settings_for(fake, tmp_path, deadline_seconds=0.3)) as compute:
        with pytest.raises(DeadlineExceeded, match="run the same command to wait for it"):
            compute.insert("disks", DISK)
        (pending,) = compute.pending()
        assert pending["targetLink"].endswith("/disks/d")
    threading.Timer(0.2, fake.faults.release).start()
    with Compute.opened(settings_for(fake, tmp_path)) as compute:
        compute.wait(pending)
        assert compute.pending() == []


def test_pages_are_read_to_the_last(fake: FakeCompute, compute: Compute) -> None:
    for number in range(3):
        fake.state.folder("zones/europe-west1-b", "disks")[f"d{number}"] = {"name": f"d{number}", "sizeGb": "1"}
    fake.state.page_size = 2
    assert len(compute.all("disks")) == 3


def test_a_slow_answer_is_not_waited_for_for_ever(fake: FakeCompute, tmp_path: Path) -> None:
    fake.faults.add(Fault("disks.list", "slow", times=9, seconds=5))
    with (
        Compute.opened(settings_for(fake, tmp_path, request_timeout_seconds=0.2, attempts=2)) as compute,
        pytest.raises(CloudError, match="no answer from the Compute API"),
    ):
        compute.all("disks")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "UPPER", "sizeGb": "10"}, "name"),
        ({"name": "d", "sizeGb": "10", "id": "5"}, "id"),
        ({"name": "d", "accessMode": "x"}, "accessMode"),
    ],
)
def test_the_pretended_api_refuses_what_google_s_description_does(
    fake: FakeCompute, compute: Compute, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(CloudError, match=field):
        compute.insert("disks", body)
    assert len(fake.invalid) == 1
    fake.invalid.clear()


def test_without_project_or_zone_nothing_is_asked(fake: FakeCompute, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gce\.zone"), Compute.opened(settings_for(fake, tmp_path, zone="")):
        pass
    assert fake.requests == []


GROUP = "zones/europe-west1-b/instanceGroups/g"
SERVICE: dict[str, Any] = {"name": "s", "loadBalancingScheme": "EXTERNAL_MANAGED", "protocol": "TCP"}
SERVICE |= {"healthChecks": ["global/healthChecks/h"], "backends": [{"group": GROUP}]}
CHECK: dict[str, Any] = {"name": "c", "type": "HTTP", "httpHealthCheck": {"port": 80}}
INTERFACES = [{"network": "global/networks/default"}]
MACHINE = "zones/europe-west1-b/machineTypes/e2-small"
IMAGE = "projects/cos-cloud/global/images/family/cos-stable"


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("instances", {"name": "i"}, "resource.machineType"),
        ("instances", {"name": "i", "machineType": MACHINE, "disks": [{"boot": True}]}, "resource.networkInterfaces"),
        ("instances", {"name": "i", "machineType": MACHINE, "disks": [{"boot": True}],
                       "networkInterfaces": INTERFACES}, "sourceImage is required"),
        ("instances", {"name": "i", "machineType": MACHINE, "networkInterfaces": INTERFACES,
                       "disks": [{"source": "zones/europe-west1-b/disks/none"}]}, "disks/none' was not found"),
        ("instances", {"name": "i", "machineType": MACHINE, "networkInterfaces": [{**INTERFACES[0], "name": "nic0"}],
                       "disks": [{"initializeParams": {"sourceImage": IMAGE}}]}, "networkInterfaces"),
        ("globalForwardingRules", {"name": "f", "target": "global/targetTcpProxies/none"}, "none' was not found"),
        ("globalForwardingRules", {"name": "f"}, "resource.target"),
        ("targetTcpProxies", {"name": "p", "service": "global/backendServices/none"}, "none' was not found"),
        ("backendServices", {**SERVICE, "healthChecks": ["global/healthChecks/none"]}, "none' was not found"),
        ("backendServices", {**SERVICE, "healthChecks": []}, "resource.healthChecks"),
        ("backendServices", {**SERVICE, "backends": [{"group": GROUP.replace("/g", "/none")}]}, "none' was not found"),
        ("backendServices", {**SERVICE, "connectionDraining": {"drainingTimeoutSec": 9999}}, "between 0 and 3600"),
        ("backendServices", {**SERVICE, "timeoutSec": 0}, "resource.timeoutSec"),
        ("healthChecks", {**CHECK, "timeoutSec": 9}, "checkIntervalSec 5"),
        ("healthChecks", {**CHECK, "checkIntervalSec": 4}, "resource.timeoutSec"),
        ("healthChecks", {**CHECK, "checkIntervalSec": 301, "timeoutSec": 1}, "between 1 and 300"),
        ("healthChecks", {**CHECK, "unhealthyThreshold": 11}, "between 1 and 10"),
        ("healthChecks", {**CHECK, "httpHealthCheck": {"port": 70000}}, "between 1 and 65535"),
        ("healthChecks", {"name": "c"}, "resource.type"),
        ("instanceGroups", {"name": "x", "network": "global/networks/default"}, "resource.network"),
        ("instanceGroups", {"name": "x", "namedPorts": [{"name": "http", "port": 0}]}, "between 1 and 65535"),
        ("disks", {"name": "x", "sizeGb": "10", "status": "READY"}, "resource.status"),
        ("disks", {"name": "x", "sizeGb": "10", "users": ["x"]}, "resource.users"),
    ],
)  # fmt: skip
def test_what_google_refuses_is_refused_in_one_line(
    fake: FakeCompute, compute: Compute, kind: str, body: dict[str, Any], said: str
) -> None:
    assert compute.insert("healthChecks", {**CHECK, "name": "h"})
    assert compute.insert("instanceGroups", {"name": "g"})
    with pytest.raises(CloudError) as caught:
        compute.insert(kind, body)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert body["name"] not in compute.all(kind)


def test_what_google_takes_is_taken(fake: FakeCompute, compute: Compute) -> None:
    assert compute.insert("healthChecks", {**CHECK, "name": "h", "checkIntervalSec": 10, "timeoutSec": 10})
    assert compute.insert("instanceGroups", {"name": "g", "namedPorts": [{"name": "http", "port": 80}]})
    assert compute.insert("backendServices", {**SERVICE, "connectionDraining": {"drainingTimeoutSec": 3600}})
    assert compute.insert("targetTcpProxies", {"name": "p", "service": "global/backendServices/s"})
    assert compute.insert("globalForwardingRules", {"name": "f", "target": "global/targetTcpProxies/p"})
    with pytest.raises(CloudError, match="already being used"):
        compute.delete("healthChecks", "h")
    with pytest.raises(CloudError, match="checkIntervalSec"):
        compute.act("healthChecks", "h", "patch", {"checkIntervalSec": 5})
    assert fake.invalid == []
