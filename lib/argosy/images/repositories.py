"""Pure. In which repository an image lies, on an engine and in a registry.

    PREFIX/NAME                  an image; all clusters share its versions
    PREFIX/installer/CLUSTER     the releases of one cluster; no image of the user's has a slash in its name
    PREFIX/cache/NAME            in a registry what the steps of its builds have made
    PREFIX/installer             releases that name no cluster: made before clusters were told apart

PREFIX: on an engine the system; in a registry `registry.repository`, by default the system, too.
"""

from __future__ import annotations

from argosy.config.loading import Settings
from argosy.images.versions import INSTALLER


def repository(prefix: str, name: str, cluster: str = "") -> str:
    """Return the repository of image `name`. `cluster`: whose releases, for the installer; no other image has one."""
    return f"{prefix}/{name}/{cluster}" if name == INSTALLER and cluster else f"{prefix}/{name}"


def parse_repository(prefix: str, path: str) -> tuple[str, str] | None:
    """Return the name of the image and, of a cluster's releases, the cluster; nothing for what is not ours."""
    below = path.removeprefix(f"{prefix}/")
    name, _, cluster = below.partition("/")
    if below == path or not name or "/" in cluster or (cluster and name != INSTALLER):
        return None
    return name, cluster


def names_no_cluster(settings: Settings, path: str) -> bool:
    """Return whether what lies there in the cluster's registry is a release of before releases named their cluster."""
    return parse_repository(registry_prefix(settings), path) == (INSTALLER, "")


def on_engine(settings: Settings, name: str) -> str:
    """Return the repository of image `name`, for the installer of this cluster's releases, on this host's engine."""
    return repository(settings.system, name, settings.cluster)


def cache_of(settings: Settings, name: str, platform: str = "") -> str:
    """Return the reference in the cluster's registry where the cache of an image's builds is; no image has such."""
    where = f"{settings.registry.address}/{registry_prefix(settings)}/cache/{name}"
    return f"{where}:{platform.replace('/', '-') or 'cache'}"


def registry_prefix(settings: Settings) -> str:
    """Return what the repositories of this cluster begin with in its registry."""
    return settings.registry.repository or settings.system
