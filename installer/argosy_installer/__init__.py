"""The installer: runs in a container on a machine and makes the machine what the release says.

It has no dependency but Python's standard library. It may be killed at any moment and run again: each step looks at
what is there and does the rest.

    machine, release     what it is told: environment, /etc/SYSTEM, /release
    docker, etcd, systemd    what it talks to
    joining, pulling, settings, units, starting, record    the steps, in this order
    install, status, facts    commands, as is pulling alone
"""
