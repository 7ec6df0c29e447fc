"""The default of every top-level setting, once.

Kept apart from `config` so that `inv --list` needs neither pydantic nor YAML: this dict is what the root collection
is configured with, and Invoke layers invoke.yaml, the environment and the command line on top of it.
"""

from __future__ import annotations

from typing import Any

from argosy.config.gce_defaults import GCE
from argosy.config.suites import host_suite

DEFAULTS: dict[str, Any] = {
    "cluster": "",
    "system": "air",
    "provider": "static",
    "version_file": "VERSION",
    "state_dir": ".argosy",
    "secrets_dir": "secrets",
    "templates": "",
    "ssh": {
        "user": "core",
        "key": "",
        "port": 22,
        "entry_node": "",
        "connect_timeout_seconds": 10,
        "connect_attempts": 3,
        "command_timeout_seconds": 600,
        "max_parallel": 32,
    },
    "registry": {
        "address": "",
        "repository": "",
        "bind": [],
        "user": "argosy",
        "password": {"file": "", "command": []},
        "timeout_seconds": 30,
    },
    "registries": {},
    "docker": {"bip": "", "dns": [], "storage_driver": ""},
    "build": {"suite": host_suite(), "builder": "auto", "registry_cache": False, "keep_versions": 5, "max_parallel": 2},
    "machine": {"os": "debian", "swap_megabytes": 0, "container": False, "authorized_keys": []},
    "etcd": {"image": "etcd", "client_port": 2379, "peer_port": 2380, "max_members": 5, "timeout_seconds": 5},
    "install": {"deadline_seconds": 600, "pull_attempts": 8},
    "rollout": {
        "batch": "1",
        "canary": False,
        "soak_seconds": 0,
        "drain_seconds": 60,
        "check_seconds": 120,
        "windows": [],
        "free_megabytes": 1000,
        "clock_skew_seconds": 10,
        "lock_ttl_seconds": 30,
    },
    "discovery": {
        "enabled": True,
        "domain": "local",
        "agent_image": "agent",
        "router_image": "haproxy",
        "dns_image": "dnsmasq",
        "ttl_seconds": 10,
        "check_seconds": 2,
        "drain_seconds": 300,
        "default_service": "",
        "ssl_support": False,
        "checks": {"deadline_seconds": 60, "timeout_seconds": 5},
        "ports": {
            "http": 80,
            "http_proxy": 81,
            "https": 443,
            "https_proxy": 444,
            "tls": 8443,
            "tls_proxy": 8444,
            "forwards": {"first": 20000, "last": 20999},
        },
    },
    "swarm": {"enabled": True, "port": 2377, "heartbeat_seconds": 1.5},
    "images": {},
    "services": {},
    "scheduled": {},
    "settings": {},
    "secrets": {},
    "machines": {},
    "hooks": {"prepare_machine": []},
    "local": {
        "provider": "docker",
        "maker": "auto",
        "box": "flatcar",
        "machine_image": "machine",
        "memory_megabytes": 2048,
        "cpus": 2,
        "subnet": "192.168.55.0/24",
        "host_address": "",
        "max_machines": 5,
        "registry_image": "registry",
        "boot_deadline_seconds": 180,
        "balancer": {"port": 8080},
        "dependencies": {},
    },
    "gce": GCE,
    "providers": {},
    "clusters": {},
}
