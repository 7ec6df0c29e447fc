"""A local port that leads to a port on the far side of an ssh connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramiko import Channel

CHUNK_BYTES = 1 << 16


class LocalAddress(NamedTuple):
    """Where a tunnel begins: HOST:PORT as text, or (host, port)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@contextlib.contextmanager
def listening(dial: Callable[[], Channel]) -> Iterator[LocalAddress]:
    """Listen on a free loopback port for as long as the context lasts and give where.

    Every connection to it gets a channel of its own from `dial`; when that fails, the connection is closed, as by a
    port where nothing listens. Ours instead of Fabric's `forward_local`, which needs the port to be chosen before
    and is not yet listening when its context begins.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_ends: set[socket.socket] = set()
        thread = threading.Thread(target=_accept, args=(listener, dial, open_ends), name="tunnel", daemon=True)
        thread.start()
        try:
            yield LocalAddress(*listener.getsockname())
        finally:
            # A plain close would leave accept() waiting in its thread.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for end in list(open_ends):
                _shut(end)


def _accept(listener: socket.socket, dial: Callable[[], Channel], open_ends: set[socket.socket]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        open_ends.add(client)
        threading.Thread(target=_serve, args=(client, dial, open_ends), name="tunnel-end", daemon=True).start()


def _serve(client: socket.socket, dial: Callable[[], Channel], open_ends: set[socket.socket]) -> None:
    with client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.closing(dial()) as channel:
                back = threading.Thread(target=_copy_back, args=(channel, client), name="tunnel-back", daemon=True)
                back.start()
                with contextlib.suppress(OSError, EOFError):
                    while data := client.recv(CHUNK_BYTES):
                        channel.sendall(data)
                    channel.shutdown_write()
                back.join()
        except Exception:  # noqa: BLE001 - whoever connected sees a closed connection, as from any dead port
            _shut(client)
        finally:
            open_ends.discard(client)


def _copy_back(channel: Channel, client: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(CHUNK_BYTES):
            client.sendall(data)
    _shut(client, socket.SHUT_WR)


def _shut(end: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(how)
