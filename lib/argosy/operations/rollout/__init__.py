"""Upgrade machines, one batch after the other, without dropping a request; resumable by anyone.

running     the tasks' way in: a real cluster behind the seams
upgrading   begin, go on, turn back, give up
driver      goes from step to step, with the journal before and after each
crew        the work that goes on at the same time
seams       what all these need of machines and of etcd

machines    the real ones, through ssh and etcd: what changes them
looking     what looks at them, gates: what must hold of them
service     a machine's state in etcd: in service, or draining
telling     what the tasks show of rollouts, lock and audit trail
"""
