"""A server's secrets, delivered over a real sshd that has a /var/lib of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from raised import raises
from ssh_server import SshServer, requires_namespaces, requires_sshd, ssh_server

from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.gce import delivering
from argosy.gce.plan.server_bodies import Server
from argosy.secrets.value import Secret

OWN_STATE = 'mount -t tmpfs tmpfs /var/lib && exec "$@"'


pytestmark = [
    pytest.mark.integration,
    requires_sshd,
    requires_namespaces,
]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "users", wrapper=("unshare", "--mount", "sh", "-c", OWN_STATE, "sh")) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    gce = {"project": "p", "zone": "europe-west1-b"}
    return load({"clusters": {"cloud": {"provider": "gce"}}, "gce": gce}, root=tmp_path)


def database(settings: Settings) -> Server:
    return Server("users", "db", settings.gce.types["db"], "127.0.0.1")


def test_what_the_server_has_is_not_made_anew(settings: Settings) -> None:
    server = database(settings)
    delivering.refuse_lost(settings, server, [])
    with raises(Refused, "gce/users/password"):
        delivering.refuse_lost(settings, server, ["password"])
    delivering.secrets_of(settings, server)
    delivering.refuse_lost(settings, server, ["password"])


def test_secrets_arrive_for_their_reader_alone_and_the_marker_last(sshd: SshServer, settings: Settings) -> None:
    server, said = database(settings), list[str]()
    secrets = delivering.secrets_of(settings, server)
    assert secrets == delivering.secrets_of(settings, server), "made once"

    def report(_subject: str, message: str) -> None:
        said.append(message)

    with sshd.host("users") as host:
        assert delivering.deliver(host, settings, server, secrets, report) == list(secrets)
        shown = host.run(["stat", "-c", "%n %a %u", *(f"/var/lib/air/secrets/{name}" for name in secrets)]).stdout
        assert shown.splitlines() == [f"/var/lib/air/secrets/{name} 400 999" for name in secrets]
        assert host.run(["stat", "-c", "%a", "/var/lib/air/secrets"]).stdout == "700\n"
        assert host.run(["cat", "/var/lib/air/secrets/password"]).stdout.encode() == secrets["password"].reveal()
        assert host.run(["test", "-e", "/var/lib/air/secrets/.complete"], check=False).ok
        assert delivering.deliver(host, settings, server, secrets, report) == []
    assert said == ["secrets: user, password, database written", "secrets: unchanged"]
    assert all(secret.reveal().decode() not in line for line in said for secret in secrets.values())


def test_half_of_a_delivery_is_completed(sshd: SshServer, settings: Settings) -> None:
    server = database(settings)
    secrets = delivering.secrets_of(settings, server)
    with sshd.host("users") as host:
        host.run("mkdir -p -m 0700 /var/lib/air/secrets && echo half > /var/lib/air/secrets/password")
        assert "password" in delivering.deliver(host, settings, server, secrets, lambda *_: None)
        assert host.run(["cat", "/var/lib/air/secrets/password"]).stdout.encode() == secrets["password"].reveal()


def test_secrets_come_from_files_and_commands_and_a_missing_one_is_named(settings: Settings) -> None:
    gce = settings.gce.model_dump()
    container = gce["types"]["db"]["container"]
    container["secrets"]["user"] = {"command": ["printf", "%s", "clerk"]}
    container["secrets"]["password"] = {"file": "missing"}
    document = {"clusters": {"cloud": {"provider": "gce"}}, "gce": gce}
    changed = load(document, root=settings.root)
    with pytest.raises(ConfigError, match=r"gce\.types\.db\.container\.secrets\.password"):
        delivering.secrets_of(changed, database(changed))
    (settings.root / "missing").write_text("correct horse")
    (settings.root / "missing").chmod(0o600)
    found = delivering.secrets_of(changed, database(changed))
    assert (found["user"], found["password"]) == (Secret(b"clerk"), Secret(b"correct horse"))
