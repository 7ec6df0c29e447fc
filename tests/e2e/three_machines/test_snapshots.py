"""What etcd holds is saved, and becomes the cluster's etcd again on the machines that run."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab

MACHINES = ["sea-01", "sea-02", "sea-03"]
ETCDCTL = "/opt/sea/bin/etcdctl"

pytestmark = [pytest.mark.e2e, pytest.mark.slow(12), pytest.mark.timeout(600)]


@pytest.mark.journey("backup")
def test_a_backup_becomes_the_cluster_s_etcd_again(cluster: Lab, tmp_path: Path) -> None:
    backup = tmp_path / "monday.db"
    cluster.run(MACHINES[0], f"{ETCDCTL} put /test/day monday")
    cluster.inv("cluster.backup", str(backup))
    cluster.run(MACHINES[0], f"{ETCDCTL} put /test/day tuesday")
    assert "--force" in cluster.refused(11, "cluster.restore", str(backup), *MACHINES)
    cluster.inv("cluster.restore", str(backup), *MACHINES, "--force", "--yes")
    assert "monday" in cluster.run(MACHINES[2], f"{ETCDCTL} get /test/day")
    cluster.inv("cluster.verify")
