"""Change who belongs to a cluster, and bring back what its etcd held.

adding, removing   cluster.add-machine, cluster.remove-machine
backup, restoring  cluster.backup, cluster.restore

observing          what there is
joining, leaving   what it takes for one machine
rebuilding         a new etcd cluster out of a snapshot
endpoints          tell all machines who runs etcd
goodbye, audit     writes to etcd's keys, under the cluster's lock
actions            a plan is the list of the very actions that are done
"""
