"""Bring changed secrets, renewed certificates and another CA to a running cluster, machine by machine.

plan                what is done next; pure
machines            the machines, through ssh and etcd
provisioning_host   this host: its CA, its certificates, the registry that it runs; the record of what has begun
running             what the task does: the lock, the record, the phases, machine by machine
status              what each machine holds of its secrets
"""
