"""What an image id stands for, remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.images.memo import FILE_NAME, ContentMemo


def never() -> str:
    pytest.fail("the image was read again")


def test_is_read_once_and_remembered_by_the_next_run(tmp_path: Path) -> None:
    assert ContentMemo(tmp_path).content("sha256:1", lambda: "a") == "a"
    assert ContentMemo(tmp_path).content("sha256:1", never) == "a"


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_file_is_like_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    assert ContentMemo(tmp_path).content("sha256:1", lambda: "a") == "a"
    assert ContentMemo(tmp_path).content("sha256:1", never) == "a"


def test_a_failed_read_is_not_remembered(tmp_path: Path) -> None:
    def fail() -> str:
        raise OSError("gone")

    memo = ContentMemo(tmp_path)
    with pytest.raises(OSError, match="gone"):
        memo.content("sha256:1", fail)
    assert memo.content("sha256:1", lambda: "a") == "a"
