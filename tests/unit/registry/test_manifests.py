"""A registry's documents, also those that are not what they should be."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from argosy.registry.manifests import INDEX_TYPES, MANIFEST_TYPES, Config, parse_config, parse_manifest

CONFIG, LAYER = ("sha256:" + char * 64 for char in "cd")


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def image(**more: Any) -> bytes:
    document = {"schemaVersion": 2, "config": {"digest": CONFIG, "size": 2}, "layers": [{"digest": LAYER, "size": 40}]}
    return json.dumps({**document, **more}).encode()


def index(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries), **more}).encode()


def test_an_image_is_its_config_and_its_layers() -> None:
    found = parse_manifest(image(), MANIFEST_TYPES[0], "0.1.0")
    assert found.digest == digest(image())
    assert [blob.digest for blob in found.blobs] == [CONFIG, LAYER]
    assert (found.size_bytes, found.kind, found.content) == (42, MANIFEST_TYPES[0], image())


@pytest.mark.parametrize("layers", [None, []])
def test_an_image_may_have_no_layers(layers: object) -> None:
    found = parse_manifest(image(layers=layers), MANIFEST_TYPES[0], "0.1.0")
    assert (found.layers, found.size_bytes) == ((), 2)


def test_what_has_no_content_type_is_known_by_itself() -> None:
    assert parse_manifest(image(mediaType=MANIFEST_TYPES[1]), "", "0.1.0").kind == MANIFEST_TYPES[1]
    assert parse_manifest(image(), "", "0.1.0").kind == MANIFEST_TYPES[0]
    assert parse_manifest(index(), "", "0.1.0").kind == INDEX_TYPES[0]


def test_an_index_stands_for_its_first_image_that_runs() -> None:
    attestation = {"digest": CONFIG, "size": 1, "platform": {"architecture": "unknown", "os": "unknown"}}
    real = {"digest": LAYER, "size": 1, "platform": {"architecture": "arm64", "os": "linux"}}
    found = parse_manifest(index(attestation, real), INDEX_TYPES[0], "0.1.0")
    assert found.config is None
    assert found.first_image is not None
    assert found.first_image.digest == LAYER
    alone = parse_manifest(index(attestation), INDEX_TYPES[0], "0.1.0").first_image
    assert alone is not None
    assert alone.digest == CONFIG


@pytest.mark.parametrize("content", [index(), b'{"manifests": null}', b"{}"])
def test_an_index_may_name_nothing(content: bytes) -> None:
    assert parse_manifest(content, INDEX_TYPES[0], "0.1.0").first_image is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>hello</html>", "is no manifest"),
        (b"[]", "is no manifest"),
        (b"", "is no manifest"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (b'{"schemaVersion": 2}', "is no image's manifest"),
        (b'{"layers": []}', "is no image's manifest"),
        (image(config=None), "without a digest"),
        (image(config={"digest": "x", "size": 1}), "'x', which is no digest"),
        (image(config={}), "which is no digest"),
        (image(layers={}), "its layers are no list"),
        (image(layers=[None]), "without a digest"),
        *[(image(layers=[{"digest": LAYER, "size": size}]), "has the size") for size in ("40", -1, True, None)],
        (b"[" * 100_000, "is no manifest"),
        (index("x"), "without a digest"),
        (b'{"manifests": {}}', "its manifests are no list"),
    ],
)
def test_what_is_no_manifest_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_manifest(content, "", "0.1.0")
    assert reason in str(caught.value)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_its_bytes_are_those_of_the_digest(algorithm: str) -> None:
    own, other = digest(image(), algorithm), digest(b"other", algorithm)
    assert parse_manifest(image(), "", own).digest == own
    assert parse_manifest(image(), "", "0.1.0", own).digest == own
    for reference, told in ((other, ""), (other, own), (own, other), ("0.1.0", other)):
        with pytest.raises(ValueError, match="has other bytes than its digest says"):
            parse_manifest(image(), "", reference, told)


@pytest.mark.parametrize("told", ["", "0.1.0", "sha256:abc", "md5:" + "a" * 32])
def test_a_digest_that_is_none_is_computed(told: str) -> None:
    assert parse_manifest(image(), "", "0.1.0", told).digest == digest(image())


@pytest.mark.parametrize(
    ("document", "config"),
    [
        (
            {"config": {"Labels": {"a": "1"}}, "created": "2026-11-30T10:00:00Z"},
            Config({"a": "1"}, "2026-11-30T10:00:00Z"),
        ),
        ({"config": {"Labels": None}, "created": None}, Config({}, "")),
        ({"config": None}, Config({}, "")),
        ({}, Config({}, "")),
    ],
)
def test_a_config_tells_of_its_labels(document: object, config: Config) -> None:
    content = json.dumps(document).encode()
    assert parse_config(content, digest(content)) == config


@pytest.mark.parametrize("content", [b"x", b"[]", b'{"config": {"Labels": ["a"]}}'])
def test_what_is_no_config_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="is no image's config"):
        parse_config(content, digest(content))
    with pytest.raises(ValueError, match="other bytes"):
        parse_config(content, digest(b"another"))
