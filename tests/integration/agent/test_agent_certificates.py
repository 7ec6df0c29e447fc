"""The router's certificates, taken from a folder that may not be readable for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.agent.router.certificates import CertificateFolder
from argosy.pki import authority

pytestmark = pytest.mark.integration


def test_a_folder_that_can_t_be_read_takes_no_certificate_away(tmp_path: Path) -> None:
    pair = authority.ensure_registry_certificate(tmp_path / "secrets", ["127.0.0.1"])
    source = tmp_path / "keys"
    source.mkdir()
    (source / "web.pem").write_text(pair.certificate.read_text() + pair.key.read_text())
    folder = CertificateFolder(source, tmp_path / "certs")
    assert folder.refresh() == {"web.pem"}
    # Root reads whatever the mode is; nobody lists what is no folder.
    source.rename(tmp_path / "away")
    source.write_text("")
    assert folder.refresh() == frozenset()
    assert list(folder.names) == ["web.pem"]
    assert folder.path("web.pem").is_file()
    assert [problem.key for problem in folder.problems] == [str(source)]

    source.unlink()
    (tmp_path / "away").rename(source)
    assert folder.refresh() == frozenset()
    assert folder.problems == ()
    (source / "web.pem").unlink()
    assert folder.refresh() == {"web.pem"}
    assert folder.names == {}
