"""Pure. What has to be done so that a server is there, and as its type says; or gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from argosy.config.loading import Settings
from argosy.errors import Refused
from argosy.gce.plan.actions import Action, Project, Verb, create, destroy
from argosy.gce.plan.names import (
    LABELLED_LATER,
    Document,
    address_name,
    disk_name,
    is_ours,
    labels,
    last,
    refuse_foreign,
    type_of,
)
from argosy.gce.plan.server_bodies import Server, address_body, data_disk_body, instance_body, metadata, tags

STOPPED = ("TERMINATED", "STOPPED", "SUSPENDED")


def plan_address(settings: Settings, server: Server, project: Project) -> list[Action]:
    """Return what makes the server's internal address known before the server is there."""
    found = project.get("addresses", address_name(server.name))
    refuse_foreign(settings, "addresses", found)
    if found is None:
        return [create("addresses", address_body(settings, server), "reserved, internal", server.name)]
    return list(plan_labels(settings, "addresses", found, server.type_name, server.name))


def plan_server(settings: Settings, server: Server, project: Project) -> list[Action]:
    """Return what makes the server's disk and the server, or brings them to what its type says."""
    instance = project.get("instances", server.name)
    disk = project.get("disks", disk_name(server.name))
    refuse_foreign(settings, "instances", instance)
    refuse_foreign(settings, "disks", disk)
    if instance is not None and type_of(instance) != server.type_name:
        raise Refused(
            f"{server.name} is there as a server of type {type_of(instance) or '(none)'}: take another name, or "
            f"destroy it first: inv gce.destroy {server.name}"
        )
    actions = list(_plan_data_disk(settings, server, disk))
    if instance is not None:
        return [*actions, *_plan_changes(settings, server, instance, project)]
    why = f"{server.type_name}, {server.type.machine_type}, {server.type.image.name or server.type.image.family}"
    return [*actions, create("instances", instance_body(settings, server), why, server.name)]


def plan_removal(settings: Settings, name: str, project: Project, *, with_disks: bool) -> list[Action]:
    """Return what makes a server go, whole or half-made: itself, its address, and its data disk only if wanted."""
    actions: list[Action] = []
    for kind, own in (("instances", name), ("addresses", address_name(name))):
        found = project.get(kind, own)
        if found is not None:
            refuse_foreign(settings, kind, found)
            actions.append(destroy(kind, own, server=name))
    leftover = project.get("disks", name)
    if leftover is not None and is_ours(settings, leftover) and not project.get("instances", name):
        actions.append(destroy("disks", name, "left over from its making", name))
    disk = project.get("disks", disk_name(name))
    if disk is not None:
        refuse_foreign(settings, "disks", disk)
        size = f"{disk.get('sizeGb', '?')} GB"
        if with_disks:
            actions.append(destroy("disks", disk_name(name), f"with all that is on it, {size}", name))
        else:
            actions.append(Action(Verb.KEEP, "disks", disk_name(name), f"its data, {size}", server=name))
    return actions


def plan_labels(settings: Settings, kind: str, found: Document, type_name: str, server: str) -> Iterator[Action]:
    """Yield what gives a resource its labels; others that it carries are let be."""
    wanted = labels(settings, type_name)
    held: Mapping[str, str] = found.get("labels", {})
    if any(held.get(key) != value for key, value in wanted.items()):
        body = {"labels": {**held, **wanted}, "labelFingerprint": found.get("labelFingerprint", "")}
        why = "labels" if held or kind not in LABELLED_LATER else "label it"
        yield Action(Verb.CHANGE, kind, str(found["name"]), why, "setLabels", body, server)


def _plan_data_disk(settings: Settings, server: Server, disk: Document | None) -> Iterator[Action]:
    wanted = server.type.data_disk
    if wanted is None:
        return
    if disk is None:
        why = f"{wanted.gigabytes} GB {wanted.type}, survives the server"
        yield create("disks", data_disk_body(settings, server), why, server.name)
        return
    yield from plan_labels(settings, "disks", disk, server.type_name, server.name)
    yield from _plan_size(server, disk, wanted.gigabytes)


def _plan_size(server: Server, disk: Document, gigabytes: int) -> Iterator[Action]:
    held, name = int(disk.get("sizeGb", 0)), str(disk["name"])
    if held < gigabytes:
        why = f"{held} GB -> {gigabytes} GB"
        yield Action(Verb.CHANGE, "disks", name, why, "resize", {"sizeGb": str(gigabytes)}, server.name)
    elif held > gigabytes:
        why = f"{held} GB, not {gigabytes}: a disk can't shrink"
        yield Action(Verb.DIFFERS, "disks", name, why, server=server.name)


def _plan_changes(settings: Settings, server: Server, instance: Document, project: Project) -> Iterator[Action]:
    if instance.get("status") in STOPPED:
        method = "resume" if instance["status"] == "SUSPENDED" else "start"
        yield Action(Verb.CHANGE, "instances", server.name, "start it", method, server=server.name)
    yield from plan_labels(settings, "instances", instance, server.type_name, server.name)
    yield from _plan_tags(settings, server, instance)
    yield from _plan_metadata(server, instance)
    boot = project.get("disks", server.name)
    if boot is not None and is_ours(settings, boot):
        yield from _plan_size(server, boot, server.type.boot_disk.gigabytes)
    for why in _differences(server, instance):
        yield Action(
            Verb.DIFFERS, "instances", server.name, f"{why}: destroy it and create it anew", server=server.name
        )


def _plan_tags(settings: Settings, server: Server, instance: Document) -> Iterator[Action]:
    part = instance.get("tags", {})
    held, wanted = list(part.get("items", [])), tags(settings, server.type)
    missing = [tag for tag in wanted if tag not in held]
    if missing:
        body = {"items": [*held, *missing], "fingerprint": part.get("fingerprint", "")}
        yield Action(Verb.CHANGE, "instances", server.name, "network tags", "setTags", body, server.name)


def _plan_metadata(server: Server, instance: Document) -> Iterator[Action]:
    """A machine of the cluster keeps the user-data that it was made with: it has been upgraded since."""
    part = instance.get("metadata", {})
    held = {item["key"]: item.get("value", "") for item in part.get("items", ())}
    wanted = metadata(server)
    if server.type.cluster:
        wanted = {key: value for key, value in wanted.items() if key not in ("user-data", "argosy-release")}
    changed = [key for key, value in wanted.items() if held.get(key) != value]
    if changed:
        items = [{"key": key, "value": value} for key, value in {**held, **wanted}.items()]
        why = f"metadata {', '.join(changed)}" + (" (read at its next boot)" if "user-data" in changed else "")
        body = {"items": items, "fingerprint": part.get("fingerprint", "")}
        yield Action(Verb.CHANGE, "instances", server.name, why, "setMetadata", body, server.name)


def _differences(server: Server, instance: Document) -> Iterator[str]:
    """Yield what can't be changed while it runs."""
    machine_type = last(str(instance.get("machineType", "")))
    if machine_type != server.type.machine_type:
        yield f"machine_type is {machine_type}, not {server.type.machine_type}"
    interface = (instance.get("networkInterfaces") or [{}])[0]
    if server.address and interface.get("networkIP") != server.address:
        yield f"its address is {interface.get('networkIP')}, not {server.address}"
    if bool(interface.get("accessConfigs")) != server.type.external_address:
        yield f"it has {'an' if interface.get('accessConfigs') else 'no'} external address"
    if server.type.data_disk and len(instance.get("disks", ())) < 2:
        yield "its data disk is not attached"
