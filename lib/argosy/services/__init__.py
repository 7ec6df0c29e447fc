"""Scheduled services: what is wanted of them stands in etcd, Swarm runs them, agents register them."""
