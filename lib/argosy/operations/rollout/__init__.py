"""Upgrade machines, one batch after the other, without dropping a request; resumable by anyone.

seams       what the driver needs of machines and of etcd
driver      goes from step to step, with the journal before and after each
crew        the work that goes on at the same time
"""
