"""Ask the running agent whether it is ready. By the standard library alone, and little of it: it is done often."""

from __future__ import annotations

import socket

SECONDS = 5.0


def health(path: str, seconds: float = SECONDS) -> tuple[int, str]:
    """Return the exit status, 0 when the agent is ready and 1 when not, and the line that says so.

    `seconds`: how long the agent may be silent.
    """
    try:
        status, body = get(path, "/ready", seconds)
    except (OSError, ValueError) as error:
        return 1, f"the agent does not answer on {path}: {error}"
    return (0 if status == 200 else 1), "; ".join(body.decode(errors="replace").splitlines())


def get(path: str, target: str, seconds: float = SECONDS) -> tuple[int, bytes]:
    """Return the status and body of GET `target` from the HTTP server on the unix socket `path`.

    Raises OSError, or ValueError for what is no answer. (Importing http.client would take longer than all the rest.)
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/"):
        raise ValueError("what it says is no HTTP")
    return int(rest[:3]), body
