"""Who we are to Google, and whether that is enough. Application Default Credentials; never a password.

https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from argosy.config.loading import Settings
from argosy.errors import CloudError, ConfigError
from argosy.gce.compute.failures import LOGIN

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
RESOURCE_MANAGER = "https://cloudresourcemanager.googleapis.com"
NEEDED = (
    *(f"compute.instances.{action}" for action in ("create", "delete", "get", "list", "setLabels", "setMetadata")),
    "compute.instances.getGuestAttributes",
    "compute.instances.getSerialPortOutput",
    *(f"compute.disks.{action}" for action in ("create", "delete", "list", "resize", "setLabels")),
    *(f"compute.addresses.{action}" for action in ("createInternal", "deleteInternal", "list", "setLabels")),
    *(f"compute.instanceGroups.{action}" for action in ("create", "delete", "list", "update")),
    *(f"compute.firewalls.{action}" for action in ("create", "delete", "list", "update")),
    *(f"compute.healthChecks.{action}" for action in ("create", "delete", "list", "update")),
    *(f"compute.backendServices.{action}" for action in ("create", "delete", "list", "update")),
    *(f"compute.targetTcpProxies.{action}" for action in ("create", "delete", "list")),
    *(f"compute.globalAddresses.{action}" for action in ("create", "delete", "list")),
    *(f"compute.globalForwardingRules.{action}" for action in ("create", "delete", "list")),
    *(f"compute.instances.{action}" for action in ("setServiceAccount", "setTags", "start", "use")),
    *(f"compute.{kind}.use" for kind in ("backendServices", "disks", "globalAddresses", "instanceGroups")),
    "compute.addresses.useInternal",
    "compute.healthChecks.useReadOnly",
    "compute.networks.updatePolicy",
    "compute.targetTcpProxies.use",
    "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp",
    "iam.serviceAccounts.actAs",
)
"""What the tasks do, as permissions (https://cloud.google.com/compute/docs/reference/rest/v1)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`value`: google.auth's; `who`: the account, for people; `project`: the one that they name themselves."""

    value: Any
    who: str
    project: str = ""


def credentials_of(settings: Settings) -> Credentials:
    """Return the Application Default Credentials; nobody's for an emulator. Raises ConfigError, CloudError."""
    try:
        import google.auth
        import google.cloud.compute_v1
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import DefaultCredentialsError
    except ImportError as error:
        raise ConfigError(f"the client library is not here ({error.name}): pip install 'argosy[gce]'", "gce") from None
    if settings.gce.emulator:
        return Credentials(AnonymousCredentials(), f"nobody (emulator {settings.gce.emulator})")  # type: ignore[no-untyped-call]
    try:
        found, project = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError:
        raise CloudError(f"no Application Default Credentials are here: {LOGIN}", "unauthenticated") from None
    who = getattr(found, "service_account_email", "") or getattr(found, "account", "") or "a user's own credentials"
    return Credentials(found, str(who), project or "")


def missing_rights(settings: Settings, credentials: Credentials) -> list[str]:
    """Return those of NEEDED that the credentials do not have in the project.

    POST /v1/projects/P:testIamPermissions {"permissions": [...]} -> {"permissions": [those that are granted]}
    https://cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions
    """
    import requests
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    base = settings.gce.emulator or RESOURCE_MANAGER
    url = f"{base}/v1/projects/{settings.gce.project}:testIamPermissions"
    try:
        with AuthorizedSession(credentials.value) as session:  # type: ignore[no-untyped-call]
            answer = session.post(url, json={"permissions": list(NEEDED)}, timeout=settings.gce.request_timeout_seconds)
            answer.raise_for_status()
            granted = set(answer.json().get("permissions", ()))
    except (requests.RequestException, GoogleAuthError) as error:
        raise CloudError(
            f"the rights can't be looked up ({type(error).__name__}): "
            "gcloud services enable cloudresourcemanager.googleapis.com, or check the network",
            "unreachable",
        ) from None
    return [permission for permission in NEEDED if permission not in granted]
