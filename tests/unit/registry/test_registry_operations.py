"""The registry's operations, as far as they need none."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest

from argosy.config import Settings, load
from argosy.errors import BuildFailed, ConfigError, EngineError, Refused, RegistryError
from argosy.fanout import Outcome, Outcomes
from argosy.model import Image
from argosy.operations.build.images import all_built
from argosy.operations.build.versioning import Built
from argosy.operations.registry import access
from argosy.operations.registry.container import bind_addresses, ensure_htpasswd
from argosy.operations.registry.contents import rows_of
from argosy.operations.registry.in_use import parse_releases
from argosy.operations.registry.trust import trust_registry
from argosy.versions import Stored, Version


def settings(folder: Path, **registry: object) -> Settings:
    document = {"secrets_dir": str(folder / "secrets"), "registry": registry, "clusters": {"test": {}}}
    return load(document, root=folder)


def nobody(subject: str, message: str) -> None:
    pytest.fail(f"{subject}: {message}")


class TestAddresses:
    def test_without_an_address_it_says_what_to_set(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"registry.address: no registry is set: give HOST:PORT"):
            access.current_images(settings(tmp_path))

    def test_it_listens_on_loopback_and_on_its_address(self, tmp_path: Path) -> None:
        assert bind_addresses(settings(tmp_path, address="127.0.0.2:5000")) == ["127.0.0.1", "127.0.0.2"]
        assert bind_addresses(settings(tmp_path, address="127.0.0.1:5000")) == ["127.0.0.1"]
        assert bind_addresses(settings(tmp_path, address="localhost:5000")) == ["127.0.0.1"]

    def test_or_where_it_is_told_to(self, tmp_path: Path) -> None:
        told = settings(tmp_path, address="203.0.113.1:5000", bind=["127.0.0.3"])
        assert bind_addresses(told) == ["127.0.0.3"]

    def test_another_host_s_address_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"registry.address: 203.0.113.1 is not an address of this host"):
            bind_addresses(settings(tmp_path, address="203.0.113.1:5000"))
        with pytest.raises(ConfigError, match=r"registry.bind: 203.0.113.1 is not an address of this host"):
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
        with pytest.raises(ConfigError, match=r"registry.password: our registry takes passwords of at most 72 bytes"):
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
        with pytest.raises(ConfigError, match=r"in-use: 'latest' is not a release"):
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
