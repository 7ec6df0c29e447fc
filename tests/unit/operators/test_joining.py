"""The files of a bundle in another checkout, and what keeps them from taking the place of somebody else's."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from raised import raises

from argosy import inventory
from argosy.cluster import operators
from argosy.cluster.operator_record import Identity, Rights
from argosy.config.loading import Settings, load
from argosy.errors import ConfigError, Refused
from argosy.etcd.connection import Credentials, operator_credentials
from argosy.model import Machine
from argosy.operators import joining, keys
from argosy.operators.bundle import Bundle, BundledMachine
from argosy.pki import authority
from argosy.registry import access, contents
from argosy.report import silent
from argosy.secrets.logins import further
from argosy.ssh import keypair, known_hosts
from argosy.ssh.identity import login_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPw9vSQ3LKNUZzP6jMzSg3xH0g6rd9o5WGlyhpWFSTMV"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
REGISTRY = "10.0.0.5:5000"


def settings_in(folder: Path, **section: Any) -> Settings:
    return load({"clusters": {"test": {"registry": {"address": REGISTRY}, **section}}}, root=folder)


def bundle_of(founder: Settings, name: str = "ci", rights: Rights = Rights.DEPLOY) -> Bundle:
    """Return a bundle as the checkout that set the cluster up makes it."""
    made = keys.ensure(founder, name)
    full, folder = rights is Rights.FULL, founder.secrets_path
    return Bundle(
        version=1,
        system="air",
        cluster="test",
        name=name,
        rights=rights,
        ssh_key=made.ssh_key.read_text(),
        ssh_public_key=made.ssh_public_key,
        certificate=made.certificate.certificate.read_text(),
        certificate_key=made.certificate.key.read_text(),
        authority=authority.authority_path(folder).read_text(),
        authority_key=(folder / "pki" / "ca.key").read_text() if full else "",
        registry_address=REGISTRY,
        registry_user="air",
        registry_password="pa55",
        authorized_keys=(f"{OTHER_KEY} founder",) if full else (),
        known_hosts={"10.0.0.1": (KEY,), "[10.0.0.2]:2222": (KEY,)},
        machines=(BundledMachine("air-01", "10.0.0.1", "debian", {"tier": "green"}),),
    )


@pytest.fixture
def founder(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "founder")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "here", ssh={"key": "~/.ssh/of-the-founder"})


def files(settings: Settings) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(settings.root)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in settings.root.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_a_clean_checkout_becomes_the_operators(founder: Settings, settings: Settings) -> None:
    bundle = bundle_of(founder)
    planned = joining.plan(settings, bundle)
    assert not settings.root.exists()
    assert joining.join(settings, bundle) == planned
    assert {path.name for path in planned.files} == {
        "operator.name",
        "operator.crt",
        "operator.key",
        "ca.crt",
        "operator_ed25519",
        "operator_ed25519.pub",
        "registry.password",
    }
    assert inventory.load(settings) == [Machine("air-01", "10.0.0.1", "debian", {"tier": "green"})]
    pinned = known_hosts.read(settings.state_path / "known_hosts")
    assert {entry: tuple(map(str, found)) for entry, found in pinned.items()} == bundle.known_hosts
    assert login_key(settings) == keypair.joined_key_path(settings)
    assert keypair.authorized_keys(settings) == [bundle.ssh_public_key]
    assert access.password(settings) == "pa55"
    fingerprint = authority.operator_fingerprint(keys.folder(founder, "ci") / "operator.crt")
    assert operators.identity(settings) == Identity("ci", fingerprint, signs=False)
    shown = operator_credentials(settings)
    assert shown == Credentials(bundle.authority.encode(), bundle.certificate.encode(), bundle.certificate_key.encode())


def test_who_deploys_prunes_no_registry(founder: Settings, settings: Settings) -> None:
    joining.join(settings, bundle_of(founder))
    with raises(Refused, "operator ci has the rights deploy, and registry.prune needs full"):
        contents.prune(settings, silent, ())


def test_what_is_secret_is_closed_to_others(founder: Settings, settings: Settings) -> None:
    joining.join(settings, bundle_of(founder, rights=Rights.FULL))
    modes = {name.rpartition("/")[2]: mode for name, (_, mode) in files(settings).items()}
    for name in ("operator.key", "ca.key", "operator_ed25519", "registry.password"):
        assert modes[name] == 0o600
    assert settings.secrets_path.stat().st_mode & 0o777 == 0o700


def test_a_second_time_changes_nothing(founder: Settings, settings: Settings) -> None:
    bundle = bundle_of(founder)
    joining.join(settings, bundle)
    before = files(settings)
    assert joining.join(settings, bundle).steps() == []
    assert files(settings) == before


def test_killed_after_any_file_it_resumes(founder: Settings, settings: Settings) -> None:
    bundle = bundle_of(founder, rights=Rights.FULL)
    joining.join(settings, bundle)
    whole = files(settings)
    for path in joining.plan(settings_in(settings.root.parent / "elsewhere"), bundle).files:
        (settings.secrets_path / path.relative_to(settings.root.parent / "elsewhere" / "secrets" / "test")).unlink()
        joining.join(settings, bundle)
        assert files(settings) == whole


def test_full_rights_sign_certificates_as_the_same_operator(founder: Settings, settings: Settings) -> None:
    bundle = bundle_of(founder, "ann", Rights.FULL)
    joining.join(settings, bundle)
    assert operators.identity(settings).signs
    assert keypair.authorized_keys(settings) == [bundle.ssh_public_key, f"{OTHER_KEY} founder"]
    before = authority.operator_fingerprint(authority.operator_path(settings.secrets_path))
    authority.operator_path(settings.secrets_path).unlink()  # as when certificates are renewed
    assert authority.ensure_operator_certificate(settings.secrets_path).renewed
    assert operators.identity(settings) == Identity("ann", before, signs=True)


def test_a_bundle_that_was_made_anew_brings_what_is_new(founder: Settings, settings: Settings) -> None:
    bundle = bundle_of(founder)
    joining.join(settings, bundle)
    newer = replace(
        bundle,
        registry_password="another",
        known_hosts={**bundle.known_hosts, "10.0.0.3": (KEY,)},
        machines=(*bundle.machines, BundledMachine("air-03", "10.0.0.3", "flatcar", {})),
    )
    joined = joining.join(settings, newer)
    assert [path.name for path in joined.files] == ["registry.password"]
    assert (joined.machines, joined.host_keys) == (("air-03",), ("10.0.0.3",))
    assert inventory.load(settings)[1] == Machine("air-03", "10.0.0.3", "flatcar")


def test_logins_of_further_registries_come_where_the_configuration_has_them(founder: Settings, tmp_path: Path) -> None:
    named = {"ghcr.io": {"user": "us"}, "quay.io/us": {"user": "us", "password": {"command": ["pass", "quay"]}}}
    here = settings_in(tmp_path / "here", registries=named)
    bundle = replace(bundle_of(founder), registries={"ghcr.io": "of-ghcr", "quay.io/us": "of-quay", "r.example": "x"})
    joined = joining.join(here, bundle)
    assert further(here, "ghcr.io").password == "of-ghcr"
    assert (here.secrets_path / "registries" / "ghcr.io.password").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in joined.files if "registries" in path.parts] == ["ghcr.io.password"]
    assert "registries.r.example is not in the configuration here, and in the bundle" in joined.next_steps
    assert joining.plan(here, bundle).files == ()
    before = bundle.to_json()
    del before["registries"]
    assert Bundle.parse(json.dumps(before)) == replace(bundle, registries={})


class TestAddedAgain:
    """An operator that was removed and added again has other keys."""

    def test_takes_the_place_of_what_it_was(self, founder: Settings, settings: Settings) -> None:
        joining.join(settings, bundle_of(founder))
        keys.remove(founder, "ci")
        again = bundle_of(founder)
        assert "operator.key" in {path.name for path in joining.join(settings, again).files}
        fingerprint = authority.operator_fingerprint(keys.folder(founder, "ci") / "operator.crt")
        assert operators.identity(settings) == Identity("ci", fingerprint, signs=False)
        assert keypair.authorized_keys(settings) == [again.ssh_public_key]

    def test_killed_after_any_file_it_resumes(self, founder: Settings, settings: Settings) -> None:
        first = bundle_of(founder)
        keys.remove(founder, "ci")
        again = bundle_of(founder)
        joining.join(settings, again)
        whole = files(settings)
        changed = [name for name in whole if name.rpartition("/")[2].startswith("operator") and "name" not in name]
        assert len(changed) == 4
        for done in range(len(changed) + 1):
            shutil.rmtree(settings.root)
            joining.join(settings, first)
            for name in [name for name in map(str, _order(settings, again)) if name in changed][:done]:
                (settings.root / name).write_bytes(whole[name][0])
            joining.join(settings, again)
            assert files(settings) == whole

    def test_not_where_a_ca_key_would_stay_that_it_must_not_have(self, founder: Settings, settings: Settings) -> None:
        joining.join(settings, bundle_of(founder, "ann", Rights.FULL))
        keys.remove(founder, "ann")
        before = files(settings)
        with raises(Refused, "it is ann's", "join from another checkout"):
            joining.join(settings, bundle_of(founder, "ann"))
        assert files(settings) == before


def _order(settings: Settings, bundle: Bundle) -> list[Path]:
    """Return the files in the order in which they are written, below the checkout."""
    return [path.relative_to(settings.root) for path in joining.plan(settings, bundle).files]


class TestRefusals:
    def test_another_cluster(self, founder: Settings, tmp_path: Path) -> None:
        other = load({"clusters": {"other": {}}}, root=tmp_path / "here")
        with raises(ConfigError, "--cluster test", path="bundle"):
            joining.join(other, bundle_of(founder))
        assert not (tmp_path / "here").exists()

    def test_the_checkout_of_another_operator(self, founder: Settings, settings: Settings) -> None:
        joining.join(settings, bundle_of(founder, "ann"))
        before = files(settings)
        with raises(Refused, "it is ann's", "operator.key", "operator_ed25519"):
            joining.join(settings, bundle_of(founder, "ci"))
        assert files(settings) == before

    def test_the_checkout_that_set_the_cluster_up(self, founder: Settings) -> None:
        authority.ensure_operator_certificate(founder.secrets_path)
        before = files(founder)
        bundle = bundle_of(founder)
        before = files(founder)
        with raises(Refused, "the operator who set it up", "operator.crt"):
            joining.join(founder, bundle)
        assert files(founder) == before

    def test_another_ca(self, founder: Settings, settings: Settings) -> None:
        authority.ensure_ca(settings.secrets_path)
        with raises(Refused, "ca.crt"):
            joining.join(settings, bundle_of(founder))

    def test_another_host_key(self, founder: Settings, settings: Settings) -> None:
        known_hosts.pin(settings.state_path / "known_hosts", "10.0.0.2", 2222, OTHER_KEY)
        with raises(Refused, "[10.0.0.2]:2222", "inv cluster.trust 10.0.0.2 --port 2222"):
            joining.join(settings, bundle_of(founder))
        assert not settings.secrets_path.exists()


def test_what_is_left_to_do_is_told(founder: Settings, tmp_path: Path) -> None:
    bundle = bundle_of(founder, rights=Rights.FULL)
    printing = settings_in(tmp_path, registry={"address": REGISTRY, "password": {"command": ["echo", "other"]}})
    told = joining.plan(printing, bundle)
    assert "registry.password" not in {path.name for path in told.files}
    assert told.next_steps == (
        "registry.password.command prints another password than the bundle has",
        "inv secrets.fetch brings the cluster's secrets, to change them from here",
    )
    elsewhere = settings_in(tmp_path, registry={"address": "10.0.0.6:5000"})
    assert joining.plan(elsewhere, bundle).next_steps[0].startswith("registry.address is 10.0.0.6:5000 here")


def test_a_certificate_that_has_expired_asks_for_a_new_bundle(founder: Settings, settings: Settings) -> None:
    bundle = bundle_of(founder)
    joining.join(settings, bundle)
    from cryptography import x509

    end = x509.load_pem_x509_certificate(bundle.certificate.encode()).not_valid_after_utc
    with raises(ConfigError, "it has expired", "inv operator.add ci"):
        authority.ensure_operator_certificate(settings.secrets_path, now=end)


class TestKeyOfABundle:
    @staticmethod
    def nobody() -> str:
        raise AssertionError("asked")

    def test_from_the_environment(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARGOSY_BUNDLE_KEY", "correct horse\n")
        assert keys.bundle_key(settings, "", self.nobody).reveal() == b"correct horse"

    def test_from_a_file_of_age_keygen(self, settings: Settings, tmp_path: Path) -> None:
        path = tmp_path / "keys.txt"
        path.touch(0o600)
        path.write_text("# created: 2026-01-31T12:00:00Z\n# public key: age1qx2\nAGE-SECRET-KEY-1ABC\n")
        assert keys.bundle_key(settings, str(path), self.nobody).reveal() == b"AGE-SECRET-KEY-1ABC"
        path.chmod(0o644)
        with raises(ConfigError, "chmod 600", path="key-file"):
            keys.bundle_key(settings, str(path), self.nobody)

    def test_what_is_no_text(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "key"
        path.touch(0o600)
        path.write_bytes(b"\xff\xfe")
        with raises(ConfigError, "isn't UTF-8 text", path=str(path)):
            keys.bundle_key(settings, str(path), self.nobody)
        monkeypatch.setenv("ARGOSY_BUNDLE_KEY", os.fsdecode(b"\xff\xfe"))
        with raises(ConfigError, "isn't UTF-8 text", path="ARGOSY_BUNDLE_KEY"):
            keys.bundle_key(settings, "", self.nobody)

    def test_asked_for(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ARGOSY_BUNDLE_KEY", raising=False)
        assert keys.bundle_key(settings, "", lambda: "typed").reveal() == b"typed"
        with raises(ConfigError, "an empty key", path="ARGOSY_BUNDLE_KEY"):
            keys.bundle_key(settings, "", lambda: "")
