"""Change who belongs to a cluster, and bring back what its etcd held.

adding, removing   cluster.add-machine, cluster.remove-machine
backups            cluster.backup, cluster.restore
bare_metal         cluster.setup
etcd_upgrading     cluster.upgrade-etcd, and which etcd a newcomer may bring
swarm_task         cluster.swarm

observing          a cluster whose members are being changed, and what there is of it
joining, leaving   what it takes for one machine
clearing           leave a machine as it was before it was one
rebuilding         a new etcd cluster out of a snapshot
endpoints          tell all machines who runs etcd
actions            a plan is the list of the very actions that are done
"""
