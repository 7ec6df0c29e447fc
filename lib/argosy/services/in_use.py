"""Which releases the machines of a cluster run, and which images its scheduled services do: pruning keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from argosy import etcd, inventory
from argosy.config import Settings
from argosy.console import Report
from argosy.errors import ConfigError, EtcdError, Refused
from argosy.etcd import Entry
from argosy.scheduled_record import PREFIX, parse_record
from argosy.scheduled_state import UPDATES
from argosy.update_record import parse_update
from argosy.versions import parse_version

MACHINES = "/machines/"
NONE = "none"


def releases_in_use(clusters: Iterable[Settings], told: str = "") -> set[str]:
    """Return the releases that machines run, as /machines/NAME in each cluster's etcd says.

    `clusters`: those that share the images in question. `told`: releases separated by commas, or `none`, instead of
    asking. Raises Refused when a cluster has machines but its etcd can't be asked: better no pruning than a wrong one.
    """
    if told:
        return parse_releases(told)
    return {release for settings in clusters for release in _running(settings)}


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
    machines = inventory.load(settings)
    if not machines:
        return set()
    try:
        with etcd.connect(settings, machines) as store:
            records = [parse_record(entry.value) for entry in store.get_prefix(PREFIX).entries]
            updates = [parse_update(entry.value) for entry in store.get_prefix(UPDATES).entries]
    except (EtcdError, ValueError) as error:
        raise Refused(f"{settings.cluster}: what its scheduled services run can't be told ({error})") from None
    generations = [it for record in records for it in (record.current, record.previous) if it]
    generations += [it for update in updates for it in (update.old, update.new)]
    return {it.image.reference.rpartition("@")[2] for it in generations}


def parse_releases(told: str) -> set[str]:
    """Return the releases of a comma-separated list; `none` means none. Pure."""
    words = {word.strip() for word in told.split(",") if word.strip()} - {NONE}
    for word in sorted(words):
        if parse_version(word) is None:
            raise ConfigError(f"{word!r} is not a release, such as 0.1.3", "in-use")
    return words


def _running(settings: Settings) -> set[str]:
    machines = inventory.load(settings)
    if not machines:
        return set()
    try:
        with etcd.connect(settings, machines) as store:
            entries = store.get_prefix(MACHINES).entries
    except EtcdError as error:
        raise Refused(
            f"{settings.cluster}: which releases its machines run can't be asked ({error}): nothing was pruned; "
            "name them yourself: --in-use 0.1.3,0.1.4 (or none)"
        ) from None
    return {release for entry in entries if (release := _release(entry))}


def _release(entry: Entry) -> str:
    """Return the release of one machine: its key's value is JSON, `{"release": "0.1.3", ...}`."""
    try:
        return str(json.loads(entry.value).get("release", ""))
    except (AttributeError, ValueError):
        raise Refused(
            f"{entry.key}: it doesn't say in JSON which release that machine runs: nothing was pruned; "
            "name the releases yourself: --in-use 0.1.3,0.1.4"
        ) from None
