"""Upgrade machines, one batch after the other, without dropping a request; resumable by anyone.

run          what the tasks call: a real cluster behind the interfaces
upgrade      begin a rollout, resume one, roll it back, or give it up
transitions  what comes next, and what the record becomes; plan: the batches; record: the record itself
driver       does what comes next (see argosy.cluster.driver), workers: on several machines at once
interfaces   what all these need of machines

machines     the real ones, through ssh and etcd: what changes them
preflight    what looks at them, gates: what must hold of them, scripts: what runs on them
view         a rollout as somebody sees it go, events: what is told of it
telling      what the tasks show of rollouts, lock and audit trail
"""
