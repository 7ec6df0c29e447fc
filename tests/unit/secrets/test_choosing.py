"""What a checkout takes from what the machines hold."""

from __future__ import annotations

import pytest
from secret_sets import KEY, NEW, OLD, TWO, Files, hashed, record

from argosy.secrets.choosing import choose


def held(**machines: Files) -> dict[str, dict[str, str]]:
    return {name: hashed(files) for name, files in machines.items()}


def test_the_present_generation_from_whoever_has_it() -> None:
    chosen = choose(TWO, held(a=OLD, b=NEW), ["c"], KEY)
    assert chosen.sources == {"ca.crt": "a", "token": "b"}
    assert chosen.generation == TWO.present
    assert not chosen.gives_up


def test_what_has_been_begun_when_it_has_come_somewhere() -> None:
    begun = record(OLD, intended=NEW)
    assert choose(begun, held(a=OLD, b=NEW), ["c"], KEY).generation == begun.intended
    back = choose(begun, held(a=OLD, b=OLD), [], KEY)
    assert (back.generation, back.gives_up) == (begun.present, True)


def test_what_has_been_begun_is_not_given_up_unseen() -> None:
    with pytest.raises(ValueError, match="c can't be asked"):
        choose(record(OLD, intended=NEW), held(a=OLD), ["c"], KEY)


@pytest.mark.parametrize("key", [None, b"other"])
def test_what_nobody_has_is_refused(key: bytes | None) -> None:
    with pytest.raises(ValueError, match="generation 2 by root@ops"):
        choose(TWO, held(a=OLD), [], KEY)
    with pytest.raises(ValueError, match="no machine"):
        choose(TWO, held(a=NEW), [], key)


def test_without_a_record_the_machines_have_to_agree() -> None:
    own = {"etcd-peer.key": "of a"}
    assert choose(None, held(a={**OLD, **own}, b={**OLD, "more": "x"})).sources == {
        "ca.crt": "a",
        "token": "a",
        "more": "b",
    }
    with pytest.raises(ValueError, match="a and b hold different token"):
        choose(None, held(a=OLD, b=NEW))
    with pytest.raises(ValueError, match="no machine"):
        choose(None, held(a={}))
