"""Pure. The cloud-config of a server outside the cluster: one container, its data disk, its secrets.

No secret is in it, nor in the metadata: they come over ssh (operations.gce.delivery) into /var/lib/SYSTEM/secrets/,
the marker `.complete` last, for which the container waits. /var is what Container-Optimized OS keeps, and where
programs are run by `/bin/sh`, since nothing may be executed there.
"""

from __future__ import annotations

from collections.abc import Sequence

from argosy.cloudconfig import config as cloudconfig
from argosy.cloudconfig.dialects.machine import MachineConfig, User
from argosy.config.gce import GceContainer
from argosy.config.loading import Settings
from argosy.gce.plan.server_bodies import DATA_DEVICE, Server
from argosy.model import File, Unit
from argosy.paths import Names
from argosy.rendering.rendering import render
from argosy.rendering.systemd import command_line

SECRETS_IN_CONTAINER = "/run/secrets"
REGISTRY_FILES = ("htpasswd", "tls.crt", "tls.key")
STOP_SECONDS = 60


def state_folder(settings: Settings) -> str:
    return f"/var/lib/{settings.system}"


def secrets_folder(settings: Settings) -> str:
    """Return where a server outside the cluster has its secrets: 0700, root's."""
    return f"{state_folder(settings)}/secrets"


def data_folder(settings: Settings) -> str:
    return f"/mnt/disks/{settings.system}-data"


def secret_names(server: Server) -> list[str]:
    """Return the files that the server waits for; none for a server without secrets."""
    own = list(server.type.container.secrets) if server.type.container else []
    return sorted({*own, *(REGISTRY_FILES if server.type.serves_registry else ())})


def user_data(settings: Settings, server: Server, authorized_keys: Sequence[str]) -> str:
    """Return the server's user-data in cloud-init's dialect. Raises ConfigError when nobody could log in."""
    config = MachineConfig(
        os="debian",
        hostname=server.name,
        users=(User(settings.ssh.user, tuple(dict.fromkeys(authorized_keys))),),
        files=tuple(_files(settings, server)),
        units=tuple(_units(settings, server)),
    )
    return cloudconfig.render(config, "cloud-init")


def _files(settings: Settings, server: Server) -> list[File]:
    folder = f"{state_folder(settings)}/bin"
    names = Names(settings.system)
    made = [File(f"{folder}/publish-host-keys", render("machine/publish-host-keys.sh.j2", names=names), 0o755)]
    if server.type.data_disk:
        made.append(File(f"{folder}/prepare-data", render("gce/prepare-data.sh.j2"), 0o755))
    return made


def _units(settings: Settings, server: Server) -> list[Unit]:
    system, folder, container = settings.system, f"{state_folder(settings)}/bin", server.type.container
    publish = command_line(["/bin/sh", f"{folder}/publish-host-keys"])
    name, host_keys = f"{system}-{server.type_name}", f"{system}-host-keys.service"
    made = [_unit(host_keys, "systemd/host-keys.service.j2", system=system, program=publish)]
    if server.type.data_disk:
        owner = str(container.user if container else 0)
        device = f"/dev/disk/by-id/google-{DATA_DEVICE}"
        program = command_line(["/bin/sh", f"{folder}/prepare-data", device, data_folder(settings), owner])
        made.append(_unit(f"{system}-data.service", "gce/data.service.j2", system=system, name=name, program=program))
    if container:
        made += _container_units(settings, server, container, name)
    return made


def _container_units(settings: Settings, server: Server, container: GceContainer, name: str) -> list[Unit]:
    marker = f"{secrets_folder(settings)}/.complete" if secret_names(server) else ""
    docker, quietly = "/usr/bin/docker", f"exec /usr/bin/docker rm --force {name} >/dev/null 2>&1"
    service = _unit(
        f"{name}.service",
        "gce/container.service.j2",
        # With secrets it is the path unit that starts it, the first time.
        started=not marker,
        name=name,
        data=f"{settings.system}-data.service" if container.data else "",
        marker=marker,
        pull=command_line([docker, "pull", "--quiet", container.image], prefix="-"),
        remove=command_line(["/bin/sh", "-c", quietly], prefix="-"),
        run=command_line(_run(settings, server, container, name)),
        stop=command_line([docker, "stop", f"--time={STOP_SECONDS}", name], prefix="-"),
    )
    if not marker:
        return [service]
    return [_unit(f"{name}.path", "gce/secrets.path.j2", name=name, marker=marker), service]


def _run(settings: Settings, server: Server, container: GceContainer, name: str) -> list[str]:
    words = ["/usr/bin/docker", "run", "--rm", f"--name={name}", f"--label=argosy.system={settings.system}"]
    words += [f"--publish={port}" for port in container.ports]
    words += [f"--env={key}={filled(settings, server, value)}" for key, value in container.env.items()]
    folder = secrets_folder(settings)
    words += [f"--volume={folder}/{name}:{SECRETS_IN_CONTAINER}/{name}:ro" for name in secret_names(server)]
    if container.data:
        words.append(f"--volume={data_folder(settings)}/content:{container.data}")
    return [*words, container.image, *container.command]


def filled(settings: Settings, server: Server, value: str) -> str:
    """Return an environment value with {project}, {system}, {cluster}, {name} and {address} filled in."""
    known = {
        "project": settings.gce.project,
        "system": settings.system,
        "cluster": settings.cluster,
        "name": server.name,
        "address": server.address,
    }
    for word, text in known.items():
        value = value.replace(f"{{{word}}}", text)
    return value


def _unit(unit: str, template: str, /, *, started: bool = True, **values: object) -> Unit:
    return Unit(unit, render(template, **values), enabled=True, started=started)
