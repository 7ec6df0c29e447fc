"""The options of `docker run` that no definition takes: dropped with a note, or refused with the reason. Pure.

Dropped is what Swarm does by itself, or what tunes without changing what the program can do. What the program may rely
on, and what keeps it from doing something, is never dropped.
"""

from __future__ import annotations

_HARMLESS = "attach cidfile detach detach-keys disable-content-trust interactive name pull quiet rm sig-proxy tty"
HARMLESS = frozenset(_HARMLESS.split())
"""Swarm names, starts and removes containers, and follows them, so these are noted together."""

NOTED = {
    "blkio-weight": "a share of the disk is nothing that Swarm gives",
    "blkio-weight-device": "a share of the disk is nothing that Swarm gives",
    "cgroup-parent": "Swarm chooses the control group",
    "cpu-count": "it is for Windows",
    "cpu-percent": "it is for Windows",
    "cpu-shares": "Swarm has no relative weights: cpus is a limit, reserve.cpus what has to be free",
    "cpuset-cpus": "Swarm chooses the CPUs: cpus is how many",
    "cpuset-mems": "Swarm chooses the memory nodes",
    "device-read-bps": "Swarm has no limit for disks",
    "device-read-iops": "Swarm has no limit for disks",
    "device-write-bps": "Swarm has no limit for disks",
    "device-write-iops": "Swarm has no limit for disks",
    "dns": "containers ask their machine's own DNS server; servers for all of them stand under docker.dns",
    "dns-option": "containers ask their machine's own DNS server",
    "dns-search": "containers ask their machine's own DNS server",
    "domainname": "instances are found by discovery, not by their own names",
    "health-interval": "checks come every discovery.check_seconds",
    "health-retries": "three failures in a row count",
    "health-start-period": "check.deadline_seconds is how long the first success may take",
    "help": "it does nothing",
    "hostname": "an instance's own name is its container's ID; others find it by discovery",
    "init": "PID 1 is the program of the image: where it leaves zombies behind, put an init into the image",
    "isolation": "it is for Windows",
    "kernel-memory": "the kernel has no such limit any more",
    "label": "labels are Argosy's own",
    "label-file": "labels are Argosy's own",
    "log-driver": "service.journal reads what the engine keeps",
    "log-opt": "service.journal reads what the engine keeps",
    "lxc-conf": "Docker has no LXC any more",
    "memory-swap": "Swarm has no limit for swap",
    "memory-swappiness": "Swarm has no limit for swap",
    "no-healthcheck": "a check of the image counts: discovery.check says how routers ask",
    "oom-kill-disable": "the kernel decides",
    "oom-score-adj": "the kernel decides",
    "pids-limit": "it had no bound before, and has none",
    "platform": "the machines run what their engine can",
    "tmpfs": "what it held is in the container's own layer, and goes with it, too",
}

REFUSED = {
    "add-host": "definitions add no lines to /etc/hosts: register the other service, and use its name",
    "cap-add": "scheduled services have Docker's own: run it as a system service (services: NAME: capabilities)",
    "cap-drop": "scheduled services have Docker's own: run it as a system service (services: NAME: capabilities)",
    "cgroupns": "scheduled services don't choose their namespaces",
    "cpu-rt-period": "Swarm gives no real-time scheduling",
    "cpu-rt-runtime": "Swarm gives no real-time scheduling",
    "device": "scheduled services get no devices of a machine",
    "device-cgroup-rule": "scheduled services get no devices of a machine",
    "env-file": "the file stands on the machine: write its lines under env, and secrets into the secrets folder",
    "gpus": "scheduled services get no devices of a machine",
    "group-add": "definitions have no groups: set them in the image",
    "ip": "Docker chooses the addresses of instances",
    "ip6": "Docker chooses the addresses of instances",
    "ipc": "scheduled services don't share the namespaces of others",
    "link-local-ip": "Docker chooses the addresses of instances",
    "mac-address": "Docker chooses the addresses of instances",
    "network-alias": "instances are on their machine's bridge: they find each other by discovery",
    "pid": "scheduled services don't share the namespaces of others",
    "privileged": "scheduled services have no such rights: what a machine needs for itself is a unit of its own",
    "read-only": "definitions have no read-only root, and without it the program may write more than before",
    "runtime": "the machines have one runtime",
    "security-opt": "scheduled services run with Docker's own profiles",
    "shm-size": "definitions have no size of /dev/shm (64 MB)",
    "storage-opt": "the machines have one storage driver",
    "sysctl": "definitions set no kernel parameters",
    "ulimit": "definitions set no limits: the default of all containers is dockerd's own (default-ulimits)",
    "user": "definitions name no user: set USER in the image",
    "userns": "scheduled services don't choose their namespaces",
    "uts": "scheduled services don't share the namespaces of others",
    "volume-driver": "volumes are the machine's own",
    "volumes-from": "there are no data containers: name the volume, or the folder, in each service that uses it",
    "workdir": "definitions name no folder to start in: set WORKDIR in the image",
}
