"""What the API's refusals mean, by their status and reason, as one line with the fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from argosy.errors import CloudError

LOGIN = "gcloud auth application-default login"

# https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-api-errors
FIXES = {
    "quotaExceeded": "free some, or ask for more: https://console.cloud.google.com/iam-admin/quotas",
    "QUOTA_EXCEEDED": "free some, or ask for more: https://console.cloud.google.com/iam-admin/quotas",
    "rateLimitExceeded": "too many requests at once: wait a minute, or lower gce.max_parallel; then the same again",
    "accessNotConfigured": "switch the API on: gcloud services enable compute.googleapis.com",
    "SERVICE_DISABLED": "switch the API on: gcloud services enable compute.googleapis.com",
    "forbidden": "ask for the role roles/compute.admin; inv gce.auth names the rights that are missing",
    "ZONE_RESOURCE_POOL_EXHAUSTED": "the zone has none left at present: try later, or another gce.zone or machine_type",
    "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": "take it away from that first",
    "resourceInUseByAnotherResource": "take it away from that first",
    "conditionNotMet": "somebody changed it meanwhile: the same command again",
    "notFound": "check gce.project, gce.zone, gce.network and the type's image: inv gce.auth",
    "billingNotEnabled": "link a billing account to the project",
}
BY_STATUS = {
    401: f"log in again: {LOGIN}",
    403: FIXES["forbidden"],
    404: FIXES["notFound"],
    412: FIXES["conditionNotMet"],
    429: FIXES["rateLimitExceeded"],
}
PASSING = frozenset({408, 429, 500, 502, 503, 504})
PASSING_REASONS = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "resourceNotReady"})


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise CloudError for what the client library raises in the body. `what`: the action, such as `create core1`."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        raise from_response(what, error) from None
    except (requests.RequestException, RetryError) as error:
        raise CloudError(
            f"{what}: no answer from the Compute API ({type(error).__name__}): check the network; then the same again",
            "unreachable",
        ) from None
    except GoogleAuthError as error:
        raise CloudError(f"{what}: the credentials were not accepted ({error}): {LOGIN}", "unauthenticated") from None


def from_response(what: str, error: Any) -> CloudError:
    """Return the error of a request that was answered with one (google.api_core's GoogleAPICallError)."""
    said = [detail["message"] for detail in error.errors or () if isinstance(detail, dict) and detail.get("message")]
    return made(what, int(error.code or 0), reason_of(error), str(said[0] if said else error.message or ""))


def from_operation(what: str, operation: Any) -> CloudError:
    """Return the error of an operation that ended with one: `{"error": {"errors": [{"code", "message"}]}}`."""
    first = operation.error.errors[0]
    return made(what, int(operation.http_error_status_code), str(first.code), str(first.message))


def made(what: str, status: int, reason: str, message: str) -> CloudError:
    fix = FIXES.get(reason) or BY_STATUS.get(status, "")
    said = " ".join(message.split()).rstrip(".") or f"HTTP {status}"
    return CloudError(f"{what}: {said}" + (f": {fix}" if fix else ""), reason or str(status))


def reason_of(error: Any) -> str:
    """Return the first `reason` of the response's error document, such as `quotaExceeded`; empty when it has none."""
    for detail in error.errors or ():
        if isinstance(detail, dict) and detail.get("reason"):
            return str(detail["reason"])
    return str(getattr(error, "reason", None) or "")


def passes(error: BaseException) -> bool:
    """Return whether the same request may do better a little later."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError

    if isinstance(error, GoogleAPICallError):
        return int(error.code or 0) in PASSING or reason_of(error) in PASSING_REASONS
    return isinstance(error, (requests.ConnectionError, requests.Timeout, TransportError))
