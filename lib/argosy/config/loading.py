"""Loading the configuration: Invoke's layers, one cluster's section on top, validated into one typed, frozen model.

Keys that begin with `x-` are the user's own, as in Compose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from invoke.config import Config as InvokeConfig
from pydantic import BaseModel, ValidationError

from argosy.config.builtin import with_builtin_images, with_builtin_services
from argosy.config.containers import (
    CheckSettings,
    ContainerSettings,
    EndpointSettings,
    HttpCheck,
    ServiceSettings,
    VolumeSettings,
)
from argosy.config.defaults import DEFAULTS
from argosy.config.ports import check_ports
from argosy.config.scheduled import ScheduledSettings
from argosy.config.sections import ImageSettings, MachineEntry, SecretReference, SshSettings, SshTarget
from argosy.config.settings import Settings
from argosy.config.types import FILE_NAME_PATTERN, NAME_PATTERN, Contradiction, Name, Section
from argosy.errors import ConfigError, nearest

__all__ = [
    "FILE_NAME_PATTERN",
    "NAME_PATTERN",
    "CheckSettings",
    "ContainerSettings",
    "EndpointSettings",
    "HttpCheck",
    "ImageSettings",
    "MachineEntry",
    "Name",
    "ScheduledSettings",
    "SecretReference",
    "ServiceSettings",
    "Settings",
    "SshSettings",
    "SshTarget",
    "VolumeSettings",
    "load",
    "load_scheduled",
    "own_settings",
]

Model = TypeVar("Model", bound=BaseModel)


def load(config: Mapping[str, Any] | InvokeConfig, cluster: str = "", root: Path | None = None) -> Settings:
    """Return the validated settings of the chosen cluster.

    `config`: what Invoke gives a task as `c.config`, or any mapping of the same shape, without defaults if need be.
    `cluster`: the value of `--cluster`; empty means what `config` says (INVOKE_CLUSTER ends up there).
    What the environment says (INVOKE_SSH_USER) beats the cluster's section, too.
    `root`: the folder that relative paths start from; the folder of tasks.py when `config` knows it.
    Raises ConfigError with the dotted path of the first key that is unknown or has a bad value.
    """
    raw = _plain(config)
    for key in InvokeConfig.global_defaults():
        raw.pop(key, None)
    raw = {key: value for key, value in raw.items() if not key.startswith("x-")}
    layered = _merged(DEFAULTS, raw)
    clusters = layered.pop("clusters")
    _refuse_unknown_sections(layered, clusters)
    cluster = _choose_cluster(cluster or str(layered["cluster"] or ""), clusters)
    section = {key: value for key, value in (clusters[cluster] or {}).items() if not key.startswith("x-")}
    environment = _environment(config, cluster)
    document = _merged(_merged(layered, section), environment)
    document["cluster"] = cluster
    document["root"] = root or _project_root(config)
    try:
        settings = Settings.model_validate(with_builtin_images(document))
    except ValidationError as error:
        raise _config_error(error, section, cluster, environment=environment) from None
    check_ports(settings)
    return with_builtin_services(settings)


def load_scheduled(settings: Settings, document: object, file: str) -> dict[str, ScheduledSettings]:
    """Return the scheduled services of a document of the shape `scheduled: {NAME: {...}}`, checked beside the settings.

    Beside them stands what the configuration defines under `scheduled:`. Raises ConfigError, which names the `file`.
    """
    if not isinstance(document, Mapping) or set(document) != {"scheduled"}:
        raise ConfigError("it must hold the one key scheduled:, with services by their names below it", file)
    try:
        found = _Document.model_validate(_plain(document)).scheduled
    except ValidationError as error:
        located = _config_error(error, {}, "", _Document)
        raise ConfigError(str(located), file) from None
    every = {**settings.scheduled, **found}
    settings.check_scheduled(every, f"{file}: scheduled")
    try:
        check_ports(settings.model_copy(update={"scheduled": every}))
    except ConfigError as error:
        raise ConfigError(str(error), file) from None
    return found


def own_settings(settings: Settings, model: type[Model]) -> Model:
    """Return what `providers:` holds for the provider of the cluster, as `model` has it. Raises ConfigError."""
    try:
        return model.model_validate(settings.providers.get(settings.provider, {}))
    except ValidationError as error:
        raise _config_error(error, {}, "", model, ("providers", settings.provider)) from None


class _Document(Section):
    scheduled: dict[Name, ScheduledSettings]


def _environment(config: Mapping[str, Any] | InvokeConfig, cluster: str) -> dict[str, Any]:
    """Return what the environment sets for the cluster: of the level that Invoke keeps it in, where it has read it."""
    found = _plain(getattr(config, "_env", {}))
    of_cluster = found.pop("clusters", {}).get(cluster, {})
    return _merged({key: value for key, value in found.items() if key in DEFAULTS}, of_cluster)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top: mappings are merged, all else is replaced, and the model judges the types."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _refuse_unknown_sections(layered: Mapping[str, Any], clusters: object) -> None:
    if not isinstance(clusters, Mapping):
        raise ConfigError("it must map each cluster's name to its section", "clusters")
    known = dict.fromkeys(DEFAULTS)
    for key in layered:
        if key not in known:
            raise ConfigError(f"unknown key{nearest(key, known)}; keys of your own begin with x-", key)
    for name, section in clusters.items():
        if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
            raise ConfigError(
                "a cluster's name is made of lower-case letters, digits and dashes; a number stands in quotes",
                f"clusters.{name}",
            )
        if section is not None and not isinstance(section, Mapping):
            raise ConfigError("it must be a section (keys and values)", f"clusters.{name}")
        for key in section or {}:
            if key in ("clusters", "cluster") or (key not in known and not str(key).startswith("x-")):
                raise ConfigError(f"unknown key{nearest(str(key), known)}", f"clusters.{name}.{key}")


def _choose_cluster(wanted: str, clusters: Mapping[str, Any]) -> str:
    if wanted in clusters:
        return wanted
    known = ", ".join(sorted(clusters)) or "none is defined under clusters:"
    if wanted:
        raise ConfigError(f"no cluster {wanted!r}{nearest(wanted, clusters)}; known: {known}", "cluster")
    if len(clusters) == 1:
        return next(iter(clusters))
    raise ConfigError(f"which cluster? Give --cluster NAME or INVOKE_CLUSTER; known: {known}", "cluster")


_SHAPES = {
    "model_type": "keys with values, such as {key: value}",
    "dict_type": "keys with values, such as {key: value}",
    "list_type": "a list, such as [a, b]",
    "tuple_type": "a list, such as [a, b]",
}
"""What a key has to hold, by the type of pydantic's error, whose own words are Python's."""


def _config_error(
    error: ValidationError,
    section: Mapping[str, Any],
    cluster: str,
    root: type[BaseModel] = Settings,
    above: Sequence[str] = (),
    environment: Mapping[str, Any] = MappingProxyType({}),
) -> ConfigError:
    """Return the first of the errors. `above`: where in the configuration the `root` stands; `environment`: what came
    from there, and not from the cluster's `section`."""
    first = error.errors(include_url=False, include_input=False)[0]
    location = [str(part) for part in first["loc"] if part != "[key]"]
    path = ".".join((*above, *location))
    if _holds(section, location) and not _holds(environment, location):
        path = f"clusters.{cluster}.{path}"
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key{nearest(location[-1], _known_keys(location[:-1], root))}", path)
    if shape := _SHAPES.get(first["type"]):
        return ConfigError(f"it must be {shape}", path)
    message = str(first["msg"]).removeprefix("Value error, ")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Contradiction):
        path = f"{path}.{cause.path}"
    return ConfigError(message[:1].lower() + message[1:], path)


def _holds(section: Mapping[str, Any], location: list[str]) -> bool:
    current: Any = section
    for part in location:
        if isinstance(current, Mapping) and part in current:
            current = current[part]
        else:
            return current is not section and not isinstance(current, Mapping)
    return True


def _known_keys(location: list[str], root: type[BaseModel]) -> dict[str, object]:
    """Return the keys that the model takes at `location` below `root`."""
    model: Any = root
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _inner(model.model_fields[part].annotation)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return dict.fromkeys(field.alias or name for name, field in model.model_fields.items())
    return {}


def _inner(annotation: Any) -> Any:
    """Return the model inside `dict[str, Model]`, `list[Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner(argument)
        if found is not None:
            return found
    return None


def _project_root(config: Mapping[str, Any] | InvokeConfig) -> Path:
    """Return the folder of the invoke.yaml or tasks.py that was loaded, else the current folder."""
    prefix = getattr(config, "_project_prefix", None)
    return Path(prefix).resolve() if prefix else Path.cwd()


def _plain(value: Any) -> Any:
    """Return Invoke's DataProxy as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
