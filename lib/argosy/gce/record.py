"""What this host remembers of a cluster's servers in Google Compute Engine: .argosy/CLUSTER/gce.json

    {"entry_node": "core1", "founders": ["core1", "core2"], "leaving": [],
     "servers": {"core1": {"id": "123", "address": "10.132.0.2", "external": "203.0.113.7"}}}

`founders`: the machines that make the new cluster together; later ones join it. `leaving`: machines that have
begun to leave it, to be destroyed then. `servers`: those whose ssh host keys
are pinned, by the id of the instance that told them: one that is made anew has another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from argosy import atomic
from argosy.config.loading import Settings
from argosy.errors import ConfigError
from argosy.ssh.known_hosts import SSH_PORT

FILE_NAME = "gce.json"


class ServerRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    address: str
    external: str = ""


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")
    entry_node: str = ""
    founders: list[str] = []
    leaving: list[str] = []
    servers: dict[str, ServerRecord] = {}


def load(settings: Settings) -> Record:
    """Return what is remembered; nothing when there is no file. Raises ConfigError for a bad one."""
    path = _path(settings)
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Record()
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}; make it readable", str(path)) from None
    except ValidationError:
        raise ConfigError("not what the gce tasks write; repair or remove it", str(path)) from None


@contextmanager
def changing(settings: Settings) -> Iterator[Record]:
    """Give what is remembered to be changed in the body, and keep it. Safe beside another run."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    with atomic.locked(settings.state_path / f".{FILE_NAME}.lock"):
        record = load(settings)
        yield record
        text = record.model_dump_json(indent=2) + "\n"
        atomic.write_if_changed(_path(settings), text.encode())


def note_leaving(settings: Settings, name: str) -> None:
    """Remember that the machine leaves its cluster, or has left it, so that its server may be destroyed."""
    with changing(settings) as record:
        record.leaving = sorted({*record.leaving, name})


def entered(settings: Settings) -> Settings:
    """Return the settings with the entry node that `gce.entry-node` keeps, unless one is configured. Asks nobody."""
    record = load(settings)
    server = record.servers.get(record.entry_node)
    if settings.ssh.entry_node or server is None or not server.external:
        return settings
    port = "" if settings.ssh.port == SSH_PORT else f":{settings.ssh.port}"
    entry = f"{settings.ssh.user}@{server.external}{port}"
    return settings.model_copy(update={"ssh": settings.ssh.model_copy(update={"entry_node": entry})})


def _path(settings: Settings) -> Path:
    return settings.state_path / FILE_NAME
