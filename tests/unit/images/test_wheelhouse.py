from __future__ import annotations

from pathlib import Path

import pytest
from raised import raises

from argosy.errors import ConfigError
from argosy.images.wheelhouse import refuse_unpinned

ROOT = Path(__file__).resolve().parents[3]
HASH = f"--hash=sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"tiny==1.0 {HASH}\n",
        f"tiny==1.0 \\\n    {HASH} \\\n    {HASH}\n    # via big\n",
        f"--index-url https://pypi.org/simple\n# all\ntiny[x]==1.0 ; python_version > '3' {HASH}  # why\n",
        f"tiny @ https://example.org/tiny.whl {HASH}\n",
    ],
)
def test_what_is_pinned_with_its_hash_passes(tmp_path: Path, text: str) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    refuse_unpinned(tmp_path / "requirements.txt", "web")


@pytest.mark.parametrize("line", ["tiny", "tiny==1.0", f"tiny>=1.0 {HASH}", "tiny==1.0 \\\n"])
def test_what_is_not_is_refused_with_its_name(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"big==2.0 {HASH}\n{line}\n")
    with raises(ConfigError, "tiny", "--hash", path="images.web.wheels"):
        refuse_unpinned(tmp_path / "requirements.txt", "web")


@pytest.mark.parametrize("path", ["images/agent/requirements.txt", "example/backend/requirements.txt"])
def test_ours_are_pinned(path: str) -> None:
    refuse_unpinned(ROOT / path, "ours")
