"""Whether something of the host's answers: the reason why not, empty when it does."""

from __future__ import annotations

import socket
from collections.abc import Container

import httpx


def tcp_reason(address: str, port: int, timeout_seconds: float) -> str:
    """Open a connection and close it."""
    try:
        with socket.create_connection((address, port), timeout=timeout_seconds):
            return ""
    except OSError as error:
        return f"{address}:{port}: {error.strerror or error}"


def http_reason(url: str, timeout_seconds: float, good: Container[int]) -> str:
    """Send one request, whose status must be one of `good`."""
    try:
        # trust_env off: a proxy of the environment is no way to this host.
        status = httpx.get(url, timeout=timeout_seconds, trust_env=False).status_code
    except httpx.HTTPError as error:
        return f"{url}: {error or type(error).__name__}"
    return "" if status in good else f"{url} answers {status}"
