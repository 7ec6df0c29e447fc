"""An image's content as one digest: what counts and what doesn't."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.images.content import content_digest, content_of_platforms, memo_key

CONFIG = {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"a": "1"}, "Image": "sha256:1"}


def entry(name: str, data: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, data


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as written:
        for info, data in entries:
            written.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def digest(*entries: tuple[tarfile.TarInfo, bytes], config: dict[str, object] | None = None) -> str:
    return content_digest([archive(*entries)], CONFIG if config is None else config)


BASE = (entry("etc", type=tarfile.DIRTYPE, mode=0o755), entry("etc/motd", b"hello"))


def test_is_a_sha256() -> None:
    assert digest(*BASE).startswith("sha256:")
    assert len(digest(*BASE)) == 71


@pytest.mark.parametrize(
    "same",
    [
        pytest.param((*BASE[:1], entry("etc/motd", b"hello", mtime=99)), id="time"),
        pytest.param((BASE[1], BASE[0]), id="order"),
        pytest.param((*BASE[:1], entry("./etc/motd", b"hello")), id="leading dot"),
        pytest.param((*BASE[:1], entry("etc/motd", b"hello", uname="root")), id="user's name"),
        pytest.param(
            (*BASE, entry("etc/hosts", b"x"), entry(".dockerenv"), entry("etc/resolv.conf")), id="engine files"
        ),
        pytest.param((*BASE, entry("dev/console"), entry("proc/1"), entry("sys/x")), id="engine folders"),
    ],
)
def test_does_not_count(same: tuple[tuple[tarfile.TarInfo, bytes], ...]) -> None:
    assert digest(*same) == digest(*BASE)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((*BASE[:1], entry("etc/motd", b"hellO")), id="bytes"),
        pytest.param((*BASE[:1], entry("etc/MOTD", b"hello")), id="path"),
        pytest.param((*BASE[:1], entry("etc/motd", b"hello", mode=0o600)), id="mode"),
        pytest.param((*BASE[:1], entry("etc/motd", b"hello", uid=1)), id="owner"),
        pytest.param((*BASE[:1], entry("etc/motd", b"hello", gid=1)), id="group"),
        pytest.param((*BASE[:1], entry("etc/motd", type=tarfile.SYMTYPE, linkname="x")), id="type"),
        pytest.param(
            (*BASE[:1], entry("etc/motd", b"hello", pax_headers={"SCHILY.xattr.security.capability": "x"})),
            id="capability",
        ),
        pytest.param(BASE[:1], id="fewer files"),
        pytest.param((*BASE, entry("device", b"")), id="more files"),
    ],
)
def test_counts(other: tuple[tuple[tarfile.TarInfo, bytes], ...]) -> None:
    assert digest(*other) != digest(*BASE)


def test_a_symlink_s_target_counts() -> None:
    first, second = (entry("l", type=tarfile.SYMTYPE, linkname=target) for target in ("a", "b"))
    assert digest(first) != digest(second)


@pytest.mark.parametrize("key", ["Env", "Cmd", "Entrypoint", "User", "WorkingDir", "StopSignal", "OnBuild"])
def test_configuration_counts(key: str) -> None:
    assert digest(*BASE, config={**CONFIG, key: ["other"]}) != digest(*BASE)


@pytest.mark.parametrize(
    "change", [{"Labels": {}}, {"Image": "sha256:2"}, {"Hostname": "x"}, {"User": ""}, {"WorkingDir": "/"}]
)
def test_labels_and_what_no_container_sees_do_not_count(change: dict[str, object]) -> None:
    assert digest(*BASE, config={**CONFIG, **change}) == digest(*BASE)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@given(st.integers(1, 5000))
def test_the_size_of_the_chunks_does_not_matter(size: int) -> None:
    data = archive(*BASE, entry("big", b"x" * 3000))
    assert content_digest(cut(data, size), CONFIG) == content_digest([data], CONFIG)


def test_whether_the_folder_of_a_volume_is_there_already_does_not_matter() -> None:
    config: dict[str, object] = {**CONFIG, "Volumes": {"/srv/data": {}, "/etc": {}}}
    folders = [entry(name, type=tarfile.DIRTYPE, mode=0o755) for name in ("srv", "srv/data")]
    assert digest(*BASE, config=config) == digest(*BASE, *folders, config=config)
    assert digest(*BASE, config=config) == digest(*BASE, folders[0], config=config)
    assert digest(*BASE, config=config) != digest(*BASE, entry("srv", type=tarfile.DIRTYPE, mode=0o700), config=config)
    assert digest(*BASE) != digest(*BASE, *folders)


def test_of_several_platforms_is_that_of_each() -> None:
    both = {"linux/amd64": "sha256:1", "linux/arm64": "sha256:2"}
    assert content_of_platforms({"": "sha256:1"}) == content_of_platforms({"linux/arm64": "sha256:1"}) == "sha256:1"
    assert content_of_platforms(both) == content_of_platforms(dict(reversed(both.items())))
    assert len({content_of_platforms(each) for each in (both, {**both, "linux/arm64": "sha256:1"})}) == 2


def test_is_read_as_it_comes() -> None:
    """An image of any size is never held whole: each chunk is asked for only when it is needed."""
    asked: list[int] = []
    most = 0

    def chunks(note: Callable[[int], None]) -> Iterator[bytes]:
        for number, chunk in enumerate(cut(archive(entry("big", b"x" * 30_000_000)), 1_000_000)):
            note(number)
            yield chunk

    content_digest(chunks(asked.append), CONFIG)
    most = len(asked)
    assert most == 31


def test_what_is_remembered_of_an_image_goes_by_all_that_its_content_follows_from() -> None:
    known = memo_key(["sha256:1", "sha256:2"], CONFIG)
    assert memo_key(["sha256:1", "sha256:2"], CONFIG | {"Labels": {}, "Image": "sha256:2"}) == known
    others = [
        memo_key(["sha256:2", "sha256:1"], CONFIG),
        memo_key(["sha256:1"], CONFIG),
        memo_key(["sha256:1", "sha256:2"], CONFIG | {"User": "web"}),
    ]
    assert len({known, *others}) == 4
