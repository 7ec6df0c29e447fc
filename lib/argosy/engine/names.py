"""How the containers, networks and volumes of a cluster are named and labelled on the host's engine.

Names and labels bear the checkout's identity, so that clusters of one name in two checkouts run side by side. A cluster
that is older than that has names without it, which its record keeps (`HostRecord.stem`), and no label of the checkout.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.config.loading import Settings
from argosy.engine.checkout import checkout_of, host_record
from argosy.errors import Refused

SYSTEM_LABEL = "argosy.system"
CLUSTER_LABEL = "argosy.cluster"
ROLE_LABEL = "argosy.role"
CHECKOUT_LABEL = "argosy.checkout"
PATH_LABEL = "argosy.path"
NAME_DIGITS = 6


def container_name(settings: Settings, name: str) -> str:
    """Return the name on the engine of a machine, dependency or balancer, and of its volume:
    argosy-CLUSTER-CHECKOUT-NAME."""
    record = host_record(settings)
    stem = record.stem or f"{unmarked_stem(settings)}-{checkout_of(settings).id[:NAME_DIGITS]}"
    return f"{stem}-{name}"


def unmarked_stem(settings: Settings) -> str:
    """Return what the names of a cluster begin with that is older than the identities of checkouts."""
    return f"argosy-{settings.cluster}"


def network_name(settings: Settings) -> str:
    return container_name(settings, "machines")


def labels_of(settings: Settings, role: str) -> dict[str, str]:
    """Return the labels by which we know our own. `role`: machine, balancer, dependency, network."""
    checkout = checkout_of(settings)
    return {**role_labels(settings, role), CHECKOUT_LABEL: checkout.id, PATH_LABEL: checkout.path}


def role_labels(settings: Settings, role: str) -> dict[str, str]:
    """Return the labels that clusters of this name have in any checkout."""
    return {SYSTEM_LABEL: settings.system, CLUSTER_LABEL: settings.cluster, ROLE_LABEL: role}


def is_own(settings: Settings, labels: Mapping[str, str]) -> bool:
    """Return whether something with these labels is the cluster's and of this checkout."""
    if labels.get(SYSTEM_LABEL) != settings.system or labels.get(CLUSTER_LABEL) != settings.cluster:
        return False
    checkout = labels.get(CHECKOUT_LABEL, "")
    return checkout == checkout_of(settings).id if checkout else bool(host_record(settings).stem)


def whose(labels: Mapping[str, str]) -> str:
    """Return whose something is, for people: the cluster and where its checkout is."""
    path = labels.get(PATH_LABEL) or "a checkout that is not known (older than Argosy's labels)"
    return f"cluster {labels.get(CLUSTER_LABEL, '?')} of {path}"


def refuse_foreign(what: str, there: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise Refused when something that is there bears another checkout's identity than the `wanted` labels do."""
    checkout = there.get(CHECKOUT_LABEL, "")
    if checkout and checkout != wanted.get(CHECKOUT_LABEL, ""):
        raise Refused(f"{what} belongs to {whose(there)}: remove it there (`inv local.stop --all`)")
