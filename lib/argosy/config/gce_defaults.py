"""The default of every setting under `gce:`; the types of servers are the seed's, as data that invoke.yaml adds to."""

from __future__ import annotations

from typing import Any

_LOGS = ["logging.write", "monitoring.write"]
_COS = {"project": "cos-cloud", "family": "cos-stable"}
_CONTAINER_SERVER: dict[str, Any] = {
    "os": "cos",
    "machine_type": "e2-small",
    "image": _COS,
    "boot_disk": {"gigabytes": 10},
    "scopes": [*_LOGS, "devstorage.read_only"],
}

GCE: dict[str, Any] = {
    "project": "",
    "region": "",
    "zone": "",
    "network": "default",
    "subnetwork": "",
    "labels": {},
    "max_parallel": 4,
    "attempts": 6,
    "request_timeout_seconds": 60,
    "deadline_seconds": 600,
    "boot_deadline_seconds": 300,
    "emulator": "",
    "balancer": {"check_seconds": 2, "healthy_after": 2, "unhealthy_after": 2, "drain_seconds": 300},
    "types": {
        "core": {
            "cluster": True,
            "os": "flatcar",
            "machine_type": "e2-medium",
            # https://www.flatcar.org/docs/latest/installing/cloud/gcp/
            "image": {"project": "kinvolk-public", "family": "flatcar-stable"},
            "boot_disk": {"gigabytes": 30},
            "scopes": [*_LOGS, "devstorage.read_only"],
        },
        "container": _CONTAINER_SERVER,
        "registry": {
            **_CONTAINER_SERVER,
            "serves_registry": True,
            "scopes": [*_LOGS, "devstorage.read_write"],
            "container": {
                "image": "docker.io/library/registry:2",
                "ports": ["5000:5000"],
                "env": {
                    "REGISTRY_STORAGE": "gcs",
                    "REGISTRY_STORAGE_GCS_BUCKET": "{project}-{system}-registry",
                    "REGISTRY_STORAGE_DELETE_ENABLED": "true",
                    "REGISTRY_HTTP_TLS_CERTIFICATE": "/run/secrets/tls.crt",
                    "REGISTRY_HTTP_TLS_KEY": "/run/secrets/tls.key",
                    "REGISTRY_AUTH": "htpasswd",
                    "REGISTRY_AUTH_HTPASSWD_REALM": "argosy",
                    "REGISTRY_AUTH_HTPASSWD_PATH": "/run/secrets/htpasswd",
                },
            },
        },
        "db": {
            **_CONTAINER_SERVER,
            "data_disk": {"gigabytes": 20, "type": "pd-ssd"},
            "container": {
                "image": "docker.io/library/postgres:17",
                "ports": ["5432:5432"],
                "env": {
                    "PGDATA": "/var/lib/postgresql/data/pgdata",
                    "POSTGRES_USER_FILE": "/run/secrets/user",
                    "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
                    "POSTGRES_DB_FILE": "/run/secrets/database",
                },
                "secrets": {
                    "user": {"generate_bytes": 4},
                    "password": {"generate_bytes": 24},
                    "database": {"generate_bytes": 4},
                },
                "data": "/var/lib/postgresql/data",
                "user": 999,
            },
        },
        "jenkins": {
            **_CONTAINER_SERVER,
            "machine_type": "e2-medium",
            "data_disk": {"gigabytes": 30},
            "container": {
                "image": "docker.io/jenkins/jenkins:lts",
                "ports": ["8080:8080"],
                "data": "/var/jenkins_home",
                "user": 1000,
            },
        },
    },
    "servers": {},
}
