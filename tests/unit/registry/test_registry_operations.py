"""The registry's operations, as far as they need none."""

from __future__ import annotations

import errno
from pathlib import Path

import bcrypt
import pytest
from invoke.config import Config
from invoke.context import Context
from raised import raises

from argosy.builds.images import all_built
from argosy.builds.versioning import Built
from argosy.config.loading import Settings, load
from argosy.engine.checkout import keep
from argosy.errors import BuildFailed, ConfigError, EngineError, Refused, RegistryError
from argosy.fanout import Outcome, Outcomes
from argosy.images.versions import Stored, Version
from argosy.model import Image
from argosy.registry import access, container
from argosy.registry.container import bind_addresses, ensure_htpasswd
from argosy.registry.contents import rows_of
from argosy.registry.trust import distrust_registry, trust_registry
from argosy.services.in_use import parse_releases
from argosy.tasks import registry as tasks


def settings(folder: Path, **registry: object) -> Settings:
    document = {"secrets_dir": str(folder / "secrets"), "registry": registry, "clusters": {"test": {}}}
    return load(document, root=folder)


def nobody(subject: str, message: str) -> None:
    pytest.fail(f"{subject}: {message}")


class TestAddresses:
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_one_that_is_not_this_host_s_is_refused_before_an_image_is_built(
        self, monkeypatch: pytest.MonkeyPatch, dry_run: bool
    ) -> None:
        monkeypatch.setattr(container, "is_built", lambda _settings: pytest.fail("the engine was asked"))
        given = {"registry": {"address": "203.0.113.1:5000"}, "clusters": {"test": {}}}
        with raises(ConfigError, "203.0.113.1", path="registry.address"):
            tasks.start(Context(Config(overrides=given)), dry_run=dry_run)

    def test_without_an_address_it_says_what_to_set(self, tmp_path: Path) -> None:
        with raises(ConfigError, "HOST:PORT", path="registry.address"):
            access.current_images(settings(tmp_path))

    def test_it_listens_on_loopback_and_on_its_address(self, tmp_path: Path) -> None:
        assert bind_addresses(settings(tmp_path, address="127.0.0.2:5000")) == ["127.0.0.1", "127.0.0.2"]
        assert bind_addresses(settings(tmp_path, address="127.0.0.1:5000")) == ["127.0.0.1"]
        assert bind_addresses(settings(tmp_path, address="localhost:5000")) == ["127.0.0.1"]

    def test_or_where_it_is_told_to(self, tmp_path: Path) -> None:
        told = settings(tmp_path, address="203.0.113.1:5000", bind=["127.0.0.3"])
        assert bind_addresses(told) == ["127.0.0.3"]

    def test_another_host_s_address_is_an_error(self, tmp_path: Path) -> None:
        with raises(ConfigError, "203.0.113.1", path="registry.address"):
            bind_addresses(settings(tmp_path, address="203.0.113.1:5000"))
        with raises(ConfigError, "203.0.113.1", path="registry.bind"):
            bind_addresses(settings(tmp_path, address="localhost:5000", bind=["203.0.113.1"]))


class TestPassword:
    def test_reading_it_makes_none(self, tmp_path: Path) -> None:
        here = settings(tmp_path, address="127.0.0.1:5000")
        with pytest.raises(RegistryError, match=r"there is no password for the registry yet: `inv registry.start`"):
            access.password(here)
        assert not here.secrets_path.exists()

    def test_a_line_break_at_the_end_is_no_part_of_it(self, tmp_path: Path) -> None:
        here = self.with_password(tmp_path, "hunter2\n")
        assert access.password(here) == "hunter2"

    def test_its_hash_is_written_once_for_root_alone(self, tmp_path: Path) -> None:
        here = self.with_password(tmp_path, "hunter2")
        path = ensure_htpasswd(here)
        first = path.read_bytes()
        user, _, hashed = first.strip().partition(b":")
        assert user == b"argosy"
        assert bcrypt.checkpw(b"hunter2", hashed)
        assert path.stat().st_mode & 0o777 == 0o600
        assert ensure_htpasswd(here).read_bytes() == first

    def test_another_password_gets_another_hash(self, tmp_path: Path) -> None:
        first = ensure_htpasswd(self.with_password(tmp_path, "one")).read_bytes()
        assert ensure_htpasswd(self.with_password(tmp_path, "two")).read_bytes() != first

    def test_one_that_bcrypt_would_cut_is_refused(self, tmp_path: Path) -> None:
        with raises(ConfigError, "72 bytes", path="registry.password"):
            ensure_htpasswd(self.with_password(tmp_path, "x" * 73))

    def with_password(self, tmp_path: Path, password: str) -> Settings:
        here = settings(tmp_path, address="127.0.0.1:5000")
        here.secrets_path.mkdir(parents=True, exist_ok=True)
        path = here.secrets_path / "registry.password"
        path.write_text(password)
        path.chmod(0o600)
        return here


class TestTrust:
    def test_puts_the_ca_where_the_engine_looks_and_writes_once(self, tmp_path: Path) -> None:
        here = settings(tmp_path, address="127.0.0.1:5000")
        (here.secrets_path / "pki").mkdir(parents=True)
        (here.secrets_path / "pki" / "ca.crt").write_text("certificate")
        assert trust_registry(here, nobody, tmp_path / "certs.d")
        assert (tmp_path / "certs.d" / "127.0.0.1:5000" / "ca.crt").read_text() == "certificate"
        assert not trust_registry(here, nobody, tmp_path / "certs.d")

    def test_where_it_can_t_one_line_says_what_to_do(self, tmp_path: Path) -> None:
        here = settings(tmp_path, address="127.0.0.1:5000")
        (here.secrets_path / "pki").mkdir(parents=True)
        (here.secrets_path / "pki" / "ca.crt").write_text("certificate")
        (tmp_path / "file").touch()
        said: list[str] = []
        assert not trust_registry(here, lambda _subject, message: said.append(message), tmp_path / "file")
        assert len(said) == 1
        assert "to let this engine push: sudo install -D -m 644" in said[0]

    def test_does_nothing_without_a_ca(self, tmp_path: Path) -> None:
        assert not trust_registry(settings(tmp_path, address="127.0.0.1:5000"), nobody, tmp_path / "certs.d")

    def checkout(self, folder: Path, *certificates: str) -> Settings:
        folder.mkdir()
        here = settings(folder, address="127.0.0.1:5000")
        (here.secrets_path / "pki").mkdir(parents=True)
        pem = "".join(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in certificates)
        (here.secrets_path / "pki" / "ca.crt").write_text(pem)
        keep(here)
        return here

    def test_another_checkout_s_is_neither_replaced_nor_removed(self, tmp_path: Path) -> None:
        first, second = self.checkout(tmp_path / "a", "one"), self.checkout(tmp_path / "b", "two")
        folder = tmp_path / "certs.d"
        assert trust_registry(first, nobody, folder)
        with raises(Refused, str(tmp_path / "a")) as caught:
            trust_registry(second, nobody, folder)
        assert caught.value.code == 11
        assert not distrust_registry(second, nobody, folder)
        assert distrust_registry(first, nobody, folder)
        assert list(folder.iterdir()) == []
        assert trust_registry(second, nobody, folder)

    def test_what_can_t_be_taken_back_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here, folder = self.checkout(tmp_path / "a", "one"), tmp_path / "certs.d"
        trust_registry(here, nobody, folder)

        def refused(_path: Path, **_options: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        said: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refused)
            assert not distrust_registry(here, lambda _subject, message: said.append(message), folder)
        place = folder / "127.0.0.1:5000"
        assert said == [f"{place}/ca.crt: Permission denied; to trust it no more: sudo rm -r {place}"]
        assert distrust_registry(here, nobody, folder)

    def test_the_same_ca_of_another_checkout_is_used_and_left(self, tmp_path: Path) -> None:
        first, second = self.checkout(tmp_path / "a", "same"), self.checkout(tmp_path / "b", "same")
        folder = tmp_path / "certs.d"
        assert trust_registry(first, nobody, folder)
        assert not trust_registry(second, nobody, folder)
        assert not distrust_registry(second, nobody, folder)
        assert distrust_registry(first, nobody, folder)

    def test_that_of_a_checkout_that_is_gone_is_taken_over(self, tmp_path: Path) -> None:
        first, second = self.checkout(tmp_path / "a", "one"), self.checkout(tmp_path / "b", "two")
        trust_registry(first, nobody, tmp_path / "certs.d")
        first.root.rename(tmp_path / "elsewhere")
        assert trust_registry(second, nobody, tmp_path / "certs.d")

    def test_one_that_is_older_is_ours_when_it_has_a_certificate_of_ours(self, tmp_path: Path) -> None:
        here, folder = self.checkout(tmp_path / "a", "new", "old"), tmp_path / "certs.d"
        older = folder / "127.0.0.1:5000" / "ca.crt"
        older.parent.mkdir(parents=True)
        older.write_text("-----BEGIN CERTIFICATE-----\nold\n-----END CERTIFICATE-----\n")
        assert trust_registry(here, nobody, folder)
        (older.parent / "argosy.json").unlink()
        older.write_text("-----BEGIN CERTIFICATE-----\nanother\n-----END CERTIFICATE-----\n")
        with raises(Refused, str(older)):
            trust_registry(here, nobody, folder)


def test_rows_tell_which_releases_pin_an_image() -> None:
    pin = Image("web", "air/web", "0.1.0", "sha256:1")
    stored = [
        Stored("installer", Version(0, 1, 9), "sha256:9", pins=(pin,)),
        Stored("web", Version(0, 1, 0), "sha256:1", size_bytes=7),
        Stored("installer", Version(0, 1, 10), "sha256:10", pins=(pin,)),
        Stored("web", Version(0, 1, 1), "sha256:2"),
    ]
    assert [(row.name, row.version, row.releases) for row in rows_of(stored)] == [
        ("installer", "0.1.10", ()),
        ("installer", "0.1.9", ()),
        ("web", "0.1.1", ()),
        ("web", "0.1.0", ("0.1.9", "0.1.10")),
    ]


class TestReleasesTold:
    def test_are_separated_by_commas(self) -> None:
        assert parse_releases("0.1.3, 0.1.4,") == {"0.1.3", "0.1.4"}

    def test_may_be_none(self) -> None:
        assert parse_releases("none") == set()

    def test_must_be_versions(self) -> None:
        with raises(ConfigError, "'latest'", path="in-use"):
            parse_releases("latest")


def failed(error: Exception) -> Outcome[Built]:
    return Outcome(error=error)


class TestAllBuilt:
    BUILT = Built("ok", "0.1.0", "air/ok:0.1.0", True, "sha256:1", 1.0)

    def test_all_well(self) -> None:
        assert all_built(Outcomes("build", {"ok": Outcome(self.BUILT)})) == [self.BUILT]

    def test_one_failure_is_told_as_it_is_with_those_that_need_it(self) -> None:
        broken = BuildFailed("base: step 2/4 failed", "last lines")
        waiting = Refused("web: not built, since it needs base")
        outcomes = {
            "base": failed(broken),
            "web": failed(waiting),
            "ok": Outcome(self.BUILT),
        }
        with pytest.raises(BuildFailed, match=r"^base: step 2/4 failed; not built, since they need it: web$") as caught:
            all_built(Outcomes("build", outcomes))
        assert caught.value.log == "last lines"

    def test_several_are_joined_with_their_logs(self) -> None:
        outcomes = {name: failed(BuildFailed(f"{name}: step 1/1 failed", "why")) for name in ("a", "b")}
        with pytest.raises(
            BuildFailed, match=r"^2 of 2 images failed: a: step 1/1 failed; b: step 1/1 failed$"
        ) as caught:
            all_built(Outcomes("build", outcomes))
        assert caught.value.log == "a:\nwhy\n\nb:\nwhy"

    def test_another_error_keeps_its_kind(self) -> None:
        with pytest.raises(EngineError, match="no engine"):
            all_built(Outcomes("build", {"a": failed(EngineError("no engine"))}))
