"""References to images, by the grammar of those who pull them."""

from __future__ import annotations

import pytest

from argosy.config.references import Reference, parse_reference, place_of, split_address, split_place

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("web", Reference("docker.io", "library/web")),
        ("web:1", Reference("docker.io", "library/web", "1")),
        ("org/web:1", Reference("docker.io", "org/web", "1")),
        ("ghcr.io/team/app/web:1.0_rc-1", Reference("ghcr.io", "team/app/web", "1.0_rc-1")),
        ("localhost/web", Reference("localhost", "web")),
        ("docker.io/web:1", Reference("docker.io", "library/web", "1")),
        ("index.docker.io/web", Reference("docker.io", "library/web")),
        ("index.docker.io/org/web", Reference("docker.io", "org/web")),
        ("registry:5000/web", Reference("registry:5000", "web")),
        ("10.0.0.5:5000/a__b/c--d/e.f:V1", Reference("10.0.0.5:5000", "a__b/c--d/e.f", "V1")),
        ("[2001:db8::5]:5000/web:1", Reference("[2001:db8::5]:5000", "web", "1")),
        ("[::1]/web", Reference("[::1]", "web")),
        (f"org/web@{DIGEST}", Reference("docker.io", "org/web", "", DIGEST)),
        (f"r.example/web:1@{DIGEST}", Reference("r.example", "web", "1", DIGEST)),
        ("web@sha512:" + "b" * 128, Reference("docker.io", "library/web", "", "sha512:" + "b" * 128)),
    ],
)
def test_are_read_as_docker_reads_them(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("org/Web:1", "names are in lower case"),
        ("Web", "names are in lower case"),
        ("web:1:2", "'1:2' is no tag"),
        ("web:", "'' is no tag"),
        ("web:-1", "'-1' is no tag"),
        ("web:" + "1" * 129, "at most 128"),
        ("web@sha256:abc", "'sha256:abc' is no digest"),
        ("web@", "'' is no digest"),
        (f"web@{DIGEST.upper()}", "is no digest"),
        (f"web@{DIGEST}@{DIGEST}", "is no digest"),
        ("web@latest", "is no digest"),
        ("", "it is no name of an image"),
        ("/web", "it is no name of an image"),
        ("web/", "it is no name of an image"),
        ("a//b", "it is no name of an image"),
        ("a/_b", "it is no name of an image"),
        ("r.example:5000/", "it is no name of an image"),
        ("https://r.example/web", "https:"),
        ("r.example:99999/web", "ports are 1 to 65535"),
        ("r..example/web", "is not HOST or HOST:PORT"),
        ("[::1/web", "is not HOST or HOST:PORT"),
        ("[1:2]/web", "1:2"),
        ("web\n", "it is no name of an image"),
        ("r.example:\uff18\uff10/web", "is not HOST or HOST:PORT"),
        ("0a" * 32, "an image's id"),
        ("r.example/" + "a" * 250, "at most 255"),
    ],
)
def test_what_an_engine_refuses_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_reference(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_is_a_host_and_a_port_https_when_left_out() -> None:
    assert split_address("10.0.0.5:5000") == ("10.0.0.5", 5000)
    assert split_address("ghcr.io") == ("ghcr.io", 443)
    assert split_address("[2001:db8::5]:5000") == ("[2001:db8::5]", 5000)
    for address in ("", "a b", "a:0", "a:", ":5000", "::1", "a/b"):
        with pytest.raises(ValueError, match=r"."):
            split_address(address)


def test_a_place_is_an_address_and_a_path() -> None:
    assert split_place("ghcr.io/team/app") == ("ghcr.io", "team/app")
    assert split_place("localhost") == ("localhost", "")
    for place in ("team/app", "ghcr.io/", "ghcr.io/Team", "ghcr.io/team/", "https://ghcr.io"):
        with pytest.raises(ValueError, match=r"."):
            split_place(place)


def test_the_most_specific_place_has_an_image() -> None:
    places = ["ghcr.io", "ghcr.io/team", "docker.io"]
    assert place_of(parse_reference("ghcr.io/team/web:1"), places) == "ghcr.io/team"
    assert place_of(parse_reference("ghcr.io/teams/web:1"), places) == "ghcr.io"
    assert place_of(parse_reference("org/web"), places) == "docker.io"
    assert place_of(parse_reference("quay.io/team/web"), places) == ""
