"""See a cluster as it is (cluster.status, cluster.members), and prove it (cluster.verify)."""
