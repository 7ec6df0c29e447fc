"""The CA and its certificates: real keys on a real disk; only the time is given."""

from __future__ import annotations

import os
import signal
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from argosy import atomic
from argosy.errors import ConfigError
from argosy.model import Machine
from argosy.pki import authority
from argosy.pki.certificates import AUTHORITY_DAYS, LEAF_DAYS

NOW = datetime(2030, 1, 1, tzinfo=UTC)
AIR = Machine("air-01", "10.0.0.1")


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> list[str]:
    found = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def usages(path: Path) -> set[x509.ObjectIdentifier]:
    return set(certificate(path).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_all(folder: Path, now: datetime = NOW) -> None:
    authority.ensure_machine_certificates(folder, AIR, now=now)
    authority.ensure_operator_certificate(folder, now=now)
    authority.ensure_registry_certificate(folder, ["10.0.0.5", "registry.example"], now=now)


class TestContent:
    def test_a_machine_has_its_three_pairs(self, tmp_path: Path) -> None:
        pairs = authority.ensure_machine_certificates(tmp_path, AIR, now=NOW)
        both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        for name in ("etcd-server", "etcd-peer"):
            assert names(pairs[name].certificate) == ["air-01", "10.0.0.1", "localhost", "127.0.0.1"]
            assert usages(pairs[name].certificate) == both
        assert usages(pairs["etcd-client"].certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH}

    def test_the_registry_answers_as_localhost_too(self, tmp_path: Path) -> None:
        pair = authority.ensure_registry_certificate(tmp_path, ["10.0.0.5", "registry.example", "10.0.0.5"], now=NOW)
        assert sorted(names(pair.certificate)) == ["10.0.0.5", "127.0.0.1", "localhost", "registry.example"]
        assert pair.certificate == tmp_path / "registry" / "tls.crt"

    def test_the_ca_signs_for_ten_years_and_leaves_live_three(self, tmp_path: Path) -> None:
        pair = authority.ensure_operator_certificate(tmp_path, now=NOW)
        ca = certificate(authority.authority_path(tmp_path))
        assert ca.not_valid_after_utc == NOW + timedelta(days=AUTHORITY_DAYS)
        assert certificate(pair.certificate).not_valid_after_utc == NOW + timedelta(days=LEAF_DAYS)
        certificate(pair.certificate).verify_directly_issued_by(ca)

    def test_names_of_the_longest_allowed_length_fit(self, tmp_path: Path) -> None:
        folder = tmp_path / ("c" * 63)
        assert authority.ensure_machine_certificates(folder, Machine("m" * 63, "10.0.0.1"), now=NOW)

    def test_nothing_is_open_to_others(self, tmp_path: Path) -> None:
        make_all(tmp_path)
        for path, mode in modes(tmp_path).items():
            assert mode == {".key": 0o600, ".crt": 0o644, ".lock": 0o600}.get(
                Path(path).suffix or Path(path).name, 0o700
            )

    def test_the_key_is_not_in_the_repr(self, tmp_path: Path) -> None:
        assert "PrivateKey" not in repr(authority.ensure_ca(tmp_path, now=NOW))


class TestSecondRun:
    def test_it_changes_nothing(self, tmp_path: Path) -> None:
        make_all(tmp_path)
        before = content(tmp_path)
        make_all(tmp_path, NOW + timedelta(days=LEAF_DAYS - 31))
        assert content(tmp_path) == before

    def test_it_renews_with_the_same_key_when_fewer_than_thirty_days_remain(self, tmp_path: Path) -> None:
        first = authority.ensure_operator_certificate(tmp_path, now=NOW)
        key, old = first.key.read_bytes(), first.certificate.read_bytes()
        second = authority.ensure_operator_certificate(tmp_path, now=NOW + timedelta(days=LEAF_DAYS - 29))
        assert (first.renewed, second.renewed) == (True, True)
        assert second.key.read_bytes() == key
        assert second.certificate.read_bytes() != old

    def test_it_renews_when_the_address_changes(self, tmp_path: Path) -> None:
        authority.ensure_machine_certificates(tmp_path, AIR, now=NOW)
        pairs = authority.ensure_machine_certificates(tmp_path, Machine("air-01", "10.0.0.9"), now=NOW)
        assert "10.0.0.9" in names(pairs["etcd-server"].certificate)
        assert not pairs["etcd-client"].renewed

    def test_it_renews_when_the_ca_is_another(self, tmp_path: Path) -> None:
        authority.ensure_operator_certificate(tmp_path, now=NOW)
        for name in ("ca.crt", "ca.key"):
            (tmp_path / "pki" / name).unlink()
        pair = authority.ensure_operator_certificate(tmp_path, now=NOW)
        certificate(pair.certificate).verify_directly_issued_by(certificate(authority.authority_path(tmp_path)))

    def test_a_renewed_ca_keeps_its_leaves(self, tmp_path: Path) -> None:
        late = NOW + timedelta(days=AUTHORITY_DAYS - LEAF_DAYS)
        authority.ensure_ca(tmp_path, now=NOW)
        old = certificate(authority.authority_path(tmp_path))
        pair = authority.ensure_operator_certificate(tmp_path, now=late)
        new = certificate(authority.authority_path(tmp_path))
        assert new.not_valid_after_utc > old.not_valid_after_utc
        certificate(pair.certificate).verify_directly_issued_by(old)
        certificate(pair.certificate).verify_directly_issued_by(new)

    def test_a_broken_certificate_is_made_anew(self, tmp_path: Path) -> None:
        pair = authority.ensure_operator_certificate(tmp_path, now=NOW)
        pair.certificate.write_text("half of it")
        assert authority.ensure_operator_certificate(tmp_path, now=NOW).renewed


def make_all_and_die_at_rename(folder: Path, number: int) -> None:
    """Run `make_all` in a child that kills itself just before the `number`-th file gets its name."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        return
    count, rename = 0, Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        make_all(folder)
    os._exit(0)


class TestCrash:
    @pytest.mark.parametrize("step", range(1, 13))
    def test_after_a_kill_at_any_write_the_next_run_ends_with_matching_pairs(self, tmp_path: Path, step: int) -> None:
        make_all_and_die_at_rename(tmp_path, step)
        make_all(tmp_path)
        keys = sorted(tmp_path.rglob("*.key"))
        assert len(keys) == 6
        for key in keys:
            private = load_pem_private_key(key.read_bytes(), password=None)
            assert certificate(key.with_suffix(".crt")).public_key() == private.public_key()
        assert list(tmp_path.rglob("*.tmp")) == []

    def test_what_a_killed_run_left_is_removed(self, tmp_path: Path) -> None:
        make_all(tmp_path)
        for path in ("pki/.ca.key.abc.tmp", "pki/machines/air-01/.etcd-peer.crt.abc.tmp", "registry/.tls.key.abc.tmp"):
            (tmp_path / path).write_text("x")
        (tmp_path / "registry" / ".another.abc.tmp").write_text("somebody else is writing it")
        make_all(tmp_path)
        assert [path.name for path in tmp_path.rglob("*.tmp")] == [".another.abc.tmp"]

    def test_many_runs_at_once_make_one_ca(self, tmp_path: Path) -> None:
        found: list[bytes] = []
        threads = [
            threading.Thread(
                target=lambda: found.append(authority.pem(authority.ensure_ca(tmp_path, now=NOW).certificate))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1


class TestRefusals:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        authority.ensure_ca(tmp_path, now=NOW)
        return tmp_path

    def refusal(self, folder: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            authority.ensure_operator_certificate(folder, now=NOW)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_a_key_that_others_may_read(self, folder: Path) -> None:
        (folder / "pki" / "ca.key").chmod(0o640)
        assert f"other users may read this key; run: chmod 600 {folder}/pki/ca.key" in self.refusal(folder)

    def test_a_lost_key(self, folder: Path) -> None:
        (folder / "pki" / "ca.key").unlink()
        assert "this host has no CA key; it is where the cluster was set up" in self.refusal(folder)

    def test_a_key_of_another_ca(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = tmp_path_factory.mktemp("other")
        authority.ensure_ca(other, now=NOW)
        atomic.write(folder / "pki" / "ca.key", (other / "pki" / "ca.key").read_bytes(), 0o600)
        assert f"it is not the key of {folder}/pki/ca.crt" in self.refusal(folder)

    def test_a_file_that_is_no_key(self, folder: Path) -> None:
        atomic.write(folder / "pki" / "ca.key", b"garbage", 0o600)
        assert "not a private key in PEM" in self.refusal(folder)

    def test_a_folder_where_a_file_should_be(self, folder: Path) -> None:
        (folder / "pki" / "ca.key").unlink()
        (folder / "pki" / "ca.key").mkdir(mode=0o700)
        assert "the key can't be read: Is a directory" in self.refusal(folder)

    def test_a_secrets_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "cluster").write_text("")
        assert "the secrets folder must be writable" in self.refusal(tmp_path / "cluster")


class TestTwoAuthorities:
    """Another CA beside the present one."""

    def test_both_are_trusted_and_the_old_one_signs_until_it_is_switched(self, tmp_path: Path) -> None:
        first = authority.ensure_operator_certificate(tmp_path, now=NOW)
        (old,) = authority.authorities(tmp_path)
        authority.add_authority(tmp_path, now=NOW)
        authority.add_authority(tmp_path, now=NOW)
        before, after = authority.authorities(tmp_path)
        assert before == old
        assert not authority.ensure_operator_certificate(tmp_path, now=NOW).renewed
        authority.switch_authority(tmp_path)
        authority.switch_authority(tmp_path)
        assert authority.authorities(tmp_path) == [after, before]
        assert authority.ensure_operator_certificate(tmp_path, now=NOW).renewed
        certificate(first.certificate).verify_directly_issued_by(after)
        authority.drop_authorities(tmp_path, now=NOW)
        authority.drop_authorities(tmp_path, now=NOW)
        assert authority.authorities(tmp_path) == [after]
        assert not authority.ensure_operator_certificate(tmp_path, now=NOW).renewed

    def test_a_renewal_of_the_one_that_signs_leaves_the_other(self, tmp_path: Path) -> None:
        authority.ensure_ca(tmp_path, now=NOW)
        late = NOW + timedelta(days=AUTHORITY_DAYS - LEAF_DAYS)
        with_both = late - timedelta(days=800)
        authority.add_authority(tmp_path, now=with_both)
        old, other = authority.authorities(tmp_path)
        authority.ensure_ca(tmp_path, now=late)
        renewed, same = authority.authorities(tmp_path)
        assert same == other
        assert renewed != old
        assert renewed.public_key() == old.public_key()

    def test_a_key_whose_certificate_is_not_trusted_is_not_switched_to(self, tmp_path: Path) -> None:
        authority.ensure_ca(tmp_path, now=NOW)
        authority.add_authority(tmp_path, now=NOW)
        authority.drop_authorities(tmp_path, now=NOW)
        with pytest.raises(ConfigError, match=r"its certificate is not in"):
            authority.switch_authority(tmp_path)

    def test_certificates_of_before_a_moment_are_renewed_once(self, tmp_path: Path) -> None:
        make_all(tmp_path, NOW)
        later = NOW + timedelta(days=1)
        assert len(authority.renew_certificates(tmp_path, later)) == 5
        make_all(tmp_path, later)
        assert authority.renew_certificates(tmp_path, later) == []
