"""Which releases the machines of a cluster run, and which images its scheduled services do: pruning keeps them."""

from __future__ import annotations

from collections.abc import Iterable

from argosy import etcd, inventory
from argosy.config.loading import Settings
from argosy.errors import ConfigError, EtcdError, Refused
from argosy.etcd import Entry
from argosy.images.versions import ReleaseInUse, parse_version
from argosy.report import Report
from argosy.schema import MACHINES
from argosy.services.record import PREFIX, ScheduledRecord
from argosy.services.updates.record import UPDATES, Update
from argosy.text import json_object

NONE = "none"


def releases_in_use(clusters: Iterable[Settings], told: str = "", *, wherever: bool = False) -> set[ReleaseInUse]:
    """Return the releases that machines run, as /machines/NAME in each cluster's etcd says.

    `clusters`: those that share the images in question. `told`: releases separated by commas, or `none`, instead of
    asking. `wherever`: a cluster of which this host never knew a machine may run elsewhere. Raises Refused for such a
    one, and when a cluster has machines but its etcd can't be asked: better no pruning than a wrong one.
    """
    if told:
        return {ReleaseInUse(version) for version in parse_releases(told)}
    clusters = list(clusters)
    unknown = [settings.cluster for settings in clusters if wherever and not inventory.is_written(settings)]
    if unknown:
        raise Refused(
            f"{', '.join(unknown)}: this host has never known its machines, so which releases they run can't be asked: "
            "nothing was pruned; name them yourself: --in-use 0.1.3,0.1.4 (or none)"
        )
    return {ReleaseInUse(version, settings.cluster) for settings in clusters for version in _running(settings)}


def digests_in_use(clusters: Iterable[Settings], report: Report, told: str = "") -> set[str]:
    """Return the digests that scheduled services run, are brought to or would go back to, as each cluster's etcd says.

    Where it can't be asked, Refused; with `told` that is reported only, for the operator knows.
    """
    found: set[str] = set()
    for settings in clusters:
        try:
            found |= _scheduled(settings)
        except Refused as refusal:
            if not told:
                raise
            report(settings.cluster, f"{refusal}; what they run may be pruned, but for the newest versions")
    return found


def _scheduled(settings: Settings) -> set[str]:
    try:
        records = [ScheduledRecord.parse(entry.value) for entry in _entries(settings, PREFIX)]
        updates = [Update.parse(entry.value) for entry in _entries(settings, UPDATES)]
    except (EtcdError, ValueError) as error:
        raise Refused(f"{settings.cluster}: what its scheduled services run can't be told ({error})") from None
    generations = [generation for record in records for generation in (record.current, record.previous) if generation]
    generations += [generation for update in updates for generation in (update.old, update.new)]
    return {generation.image.reference.rpartition("@")[2] for generation in generations}


def _entries(settings: Settings, prefix: str) -> list[Entry]:
    """Return what the cluster's etcd holds; nothing of a cluster without machines."""
    machines = inventory.load(settings)
    if not machines:
        return []
    with etcd.connect(settings, machines) as store:
        return list(store.get_prefix(prefix).entries)


def parse_releases(told: str) -> set[str]:
    """Return the releases of a comma-separated list; `none` means none. Pure."""
    words = {word.strip() for word in told.split(",") if word.strip()} - {NONE}
    for word in sorted(words):
        if parse_version(word) is None:
            raise ConfigError(f"{word!r} is not a release, such as 0.1.3", "in-use")
    return words


def _running(settings: Settings) -> set[str]:
    try:
        entries = _entries(settings, MACHINES)
    except EtcdError as error:
        raise Refused(
            f"{settings.cluster}: which releases its machines run can't be asked ({error}): nothing was pruned; "
            "name them yourself: --in-use 0.1.3,0.1.4 (or none)"
        ) from None
    return {release for entry in entries if (release := _release(entry))}


def _release(entry: Entry) -> str:
    """Return the release of one machine: its key's value is JSON, `{"release": "0.1.3", ...}`."""
    record = json_object(entry.value)
    if record is None:
        raise Refused(
            f"{entry.key}: it doesn't say in JSON which release that machine runs: nothing was pruned; "
            "name the releases yourself: --in-use 0.1.3,0.1.4"
        )
    return str(record.get("release", ""))
