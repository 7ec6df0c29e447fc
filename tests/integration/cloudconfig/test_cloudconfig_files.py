"""Writing cloud-config files: real keys and a real CA, with the registry's answers given."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import unquote

import pytest
from raised import raises

from argosy import inventory
from argosy.cloudconfig import writing
from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.model import Image, Machine
from argosy.pki import authority
from argosy.registry import access
from argosy.secrets import upload
from argosy.ssh.keypair import ensure_key_pair

RELEASE = Image("installer", "air/installer", "0.1.3", "sha256:" + "1" * 64)
ETCD = Image("etcd", "air/etcd", "0.1.0", "sha256:" + "2" * 64)
MACHINES = [
    Machine("air-01", "10.0.0.1"),
    Machine("air-02", "10.0.0.2", "flatcar"),
    Machine("air-03", "10.0.0.3", "fedora-coreos"),
]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(access, "current_release", lambda _settings: RELEASE)
    monkeypatch.setattr(access, "current_images", lambda _settings: {"etcd": ETCD, "installer": RELEASE})
    document = {
        "registry": {"address": "10.0.0.9:5000"},
        "images": {"etcd": {"context": "etcd"}},
        "secrets": {"database-password": {"generate_bytes": 24}},
        "clusters": {"test": {}},
    }
    return load(document, root=tmp_path)


class Said(list[str]):
    def __call__(self, subject: str, message: str) -> None:
        self.append(f"{subject}: {message}")


def test_each_machine_gets_the_file_of_its_os(settings: Settings) -> None:
    said = Said()
    written = writing.write(settings, MACHINES, said)
    assert written == writing.paths(settings, MACHINES)
    assert [path.name for path in written.values()] == ["air-01.yaml", "air-02.yaml", "air-03.ign"]
    assert {path.stat().st_mode & 0o777 for path in written.values()} == {0o644}
    assert said == [f"{name}: cloud-config: wrote {path}" for name, path in written.items()]
    assert "air-01=https://10.0.0.1:2380,air-02=https://10.0.0.2:2380" in written["air-01"].read_text()


def test_a_second_run_changes_nothing(settings: Settings) -> None:
    paths = writing.write(settings, MACHINES, Said())
    before = {path: path.stat().st_mtime_ns for path in paths.values()}
    said = Said()
    writing.write(settings, MACHINES, said)
    assert {path: path.stat().st_mtime_ns for path in paths.values()} == before
    assert all("unchanged" in line for line in said)
    assert writing.plan(settings, MACHINES) == []


def test_a_dry_run_tells_and_makes_nothing(settings: Settings, tmp_path: Path) -> None:
    steps = [str(step) for step in writing.plan(settings, MACHINES[:1])]
    folder = settings.secrets_path
    assert steps == [
        f"here: make {folder}/pki/ca.crt",
        f"here: make {folder}/ssh/id_ed25519",
        f"air-01: write {settings.state_path}/cloud-config/air-01.yaml",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_names_the_file_that_would_change(settings: Settings) -> None:
    path = writing.write(settings, MACHINES, Said())["air-02"]
    path.write_text("another\n")
    assert [str(step) for step in writing.plan(settings, MACHINES)] == [f"air-02: replace {path}"]


def test_no_secret_of_this_host_is_in_them(settings: Settings) -> None:
    upload.ensure_local(settings, MACHINES)
    texts = [path.read_text() for path in writing.write(settings, MACHINES, Said()).values()]
    texts += [path.read_text() for path in writing.write(settings, MACHINES, Said(), "ignition").values()]
    texts += [unquote(text) for text in texts]
    keys = list(settings.secrets_path.rglob("*.key"))
    private = [*keys, settings.secrets_path / "ssh" / "id_ed25519"]
    values = [line for path in private for line in path.read_text().splitlines()[1:-1]]
    values += [(settings.secrets_path / name).read_text() for name in ("registry.password", "database-password")]
    assert len(values) > 20
    for value in values:
        assert not [text for text in texts if value in text or base64.b64encode(value.encode()).decode() in text]
    assert not [text for text in texts if "PRIVATE KEY" in text]
    assert authority.authority_path(settings.secrets_path).read_text().splitlines()[1] in texts[0]


def test_the_operator_s_own_key_is_used_when_it_is_named(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"ssh": settings.ssh.model_copy(update={"key": "mine"})})
    with raises(ConfigError, str(tmp_path / "mine"), path="ssh.key"):
        writing.write(own, MACHINES, Said())
    (tmp_path / "mine").touch()
    with raises(ConfigError, "mine.pub", "ssh-keygen -y -f", path="ssh.key"):
        writing.write(own, MACHINES, Said())
    line = ensure_key_pair(tmp_path / "other", "me")
    (tmp_path / "mine.pub").write_text(f"{line}\n")
    path = writing.write(own, MACHINES, Said())["air-01"]
    assert f'- "{line}"' in path.read_text()
    assert not (own.secrets_path / "ssh").exists()


def test_one_machine_s_file_still_names_the_whole_cluster(settings: Settings) -> None:
    inventory.save(settings, MACHINES)
    text = writing.write(settings, MACHINES[1:2], Said())["air-02"].read_text()
    assert "air-01=https://10.0.0.1:2380,air-02=https://10.0.0.2:2380,air-03=https://10.0.0.3:2380" in text


def test_a_new_machine_beside_known_ones_is_no_new_cluster(settings: Settings) -> None:
    inventory.save(settings, MACHINES[:2])
    with pytest.raises(Refused, match=r"cluster 'test' has air-01, air-02, too: name all machines"):
        writing.write(settings, MACHINES[2:], Said())
    text = writing.write(settings, MACHINES[2:], Said(), "ignition", initial_state="existing")["air-03"].read_text()
    assert "ETCD_INITIAL_CLUSTER_STATE%3Dexisting" in text
    writing.write(settings, MACHINES, Said())


def test_who_runs_etcd_in_a_cluster_that_has_changed_is_told_not_counted(settings: Settings) -> None:
    members = [Machine("air-05", "10.0.0.5"), *MACHINES[2:]]
    path = writing.write(settings, MACHINES[2:], Said(), "ignition", initial_state="existing", members=members)[
        "air-03"
    ]
    assert "ETCD_INITIAL_CLUSTER%3Dair-05%3Dhttps%3A//10.0.0.5%3A2380%2Cair-03%3Dhttps" in path.read_text()
    path = writing.write(settings, MACHINES[2:], Said(), "ignition", initial_state="existing", members=members[:1])[
        "air-03"
    ]
    assert "MACHINE_ROLE%3Dclient" in path.read_text()
    assert "ETCD_ENDPOINTS%3Dhttps%3A//10.0.0.5%3A2379%0A" in path.read_text()


def test_without_the_etcd_image_nothing_is_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "current_images", lambda _settings: {})
    with pytest.raises(Refused, match=r"image etcd is not in the registry: inv build\.all registry\.push"):
        writing.write(settings, MACHINES, Said())
    assert list(tmp_path.iterdir()) == []
