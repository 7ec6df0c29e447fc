"""Whether a checkout may bring its secrets: a table of what is here, on the machines and in etcd."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from secret_sets import KEY, NEW, OLD, ONE, TWO, Files, digest, generation, hashed, prints, record

from argosy.secrets.deciding import Decision, Here, There, decide
from argosy.secrets.generations import Remembered, SecretsRecord, begun, fingerprint
from argosy.secrets.names import OWN_SECRETS


@dataclass(frozen=True)
class Case:
    """Machine `a` is meant, `b` is not. `held`: of `a`; `other`: of `b`, None when it is not asked; `mine`: what the
    checkout remembers; `reason`: a part of the refusal, empty when it is none."""

    wanted: Files
    held: Files
    record: SecretsRecord | None = None
    mine: SecretsRecord | None = None
    other: Files | None = None
    answered: bool = True
    key: bytes | None = KEY
    renewing: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    reason: str = ""

    def decide(self) -> Decision:
        wanted = {name: None if content is None else digest(content) for name, content in self.wanted.items()}
        remembered = Remembered("here", self.mine) if self.mine else None
        common = {name: value for name, value in wanted.items() if name not in OWN_SECRETS}
        held = {"a": hashed(self.held), "b": None if self.other is None else hashed(self.other)}
        here = Here({"a": wanted, "b": common}, self.key, remembered)
        return decide(here, There(held, self.answered, self.record), ["a"], self.renewing)


MADE: Files = {"ca.crt": "ca", "token": None}
PAIR: Files = {"etcd-peer.crt": "certificate", "etcd-peer.key": "key"}
RENEWED: Files = {"etcd-peer.crt": None, "etcd-peer.key": "key"}
LOST: Files = {"etcd-peer.crt": None, "etcd-peer.key": None}
EMPTY: Files = {}

CASES = {
    # A cluster that is being set up
    "first": Case(MADE, EMPTY, other=EMPTY, answered=False, differences=("adds ca.crt", "adds token")),
    "first-after-a-former-cluster": Case(
        MADE, EMPTY, other=EMPTY, answered=False, mine=TWO, differences=("adds ca.crt", "adds token")
    ),
    "first-but-one-is-not-asked": Case(
        OLD, EMPTY, answered=False, differences=("adds ca.crt", "adds token"), reason="b can't be asked"
    ),
    "resumed-before-etcd-is-up": Case(OLD, OLD, mine=record(intended=OLD), other=EMPTY, answered=False),
    "mended-before-etcd-is-up": Case(
        NEW, OLD, mine=record(intended=OLD), other=EMPTY, answered=False, differences=("replaces token",)
    ),
    # The newest set
    "same": Case(NEW, NEW, TWO, TWO),
    "changed-here": Case(NEW, OLD, ONE, ONE, differences=("replaces token",)),
    "removed-here": Case({"ca.crt": "ca"}, OLD, ONE, ONE, differences=("removes token",)),
    "added-here": Case({**OLD, "more": None}, OLD, ONE, ONE, differences=("adds more",)),
    "left-out-machine": Case(NEW, OLD, TWO, TWO, differences=("replaces token",)),
    "restored-etcd": Case(NEW, NEW, ONE, TWO),
    "lost-a-file": Case(NEW, {"ca.crt": "ca"}, TWO, TWO, differences=("adds token",)),
    # Older and foreign ones
    "older": Case(OLD, NEW, TWO, ONE, differences=("replaces token",), reason="older"),
    "older-to-an-empty-machine": Case(OLD, EMPTY, TWO, ONE, differences=("adds ca.crt", "adds token"), reason="older"),
    "older-but-the-same": Case(NEW, NEW, TWO, ONE),
    "older-and-changed-back": Case(OLD, OLD, record(OLD, NEW, OLD), ONE),
    "never-synced": Case(NEW, NEW, TWO, reason="never had"),
    "of-another-cluster": Case(NEW, NEW, TWO, replace(TWO, id="other"), reason="never had"),
    "without-the-key": Case(NEW, NEW, TWO, TWO, key=None, reason="never had"),
    # What is not here
    "lacks-what-machines-have": Case(MADE, OLD, ONE, ONE, differences=("replaces token",), reason="on a: token"),
    "lacks-what-the-cluster-has": Case(
        MADE, {"ca.crt": "ca"}, ONE, ONE, differences=("adds token",), reason="record: token"
    ),
    "makes-anew-on-purpose": Case(MADE, OLD, ONE, ONE, renewing=("token",), differences=("replaces token",)),
    "lacks-the-ca": Case(
        {"ca.crt": None, "token": "old"},
        OLD,
        answered=False,
        mine=ONE,
        other=OLD,
        differences=("replaces ca.crt",),
        reason="on a, b: ca.crt",
    ),
    "lacks-it-and-another-has-it": Case(
        MADE, {"ca.crt": "ca"}, other=OLD, answered=False, differences=("adds token",), reason="on b: token"
    ),
    "lacks-it-and-another-is-not-asked": Case(
        MADE, {"ca.crt": "ca"}, answered=False, differences=("adds token",), reason="perhaps on b"
    ),
    # Unfinished ones
    "resumed": Case(NEW, OLD, record(OLD, intended=NEW), record(OLD, intended=NEW), differences=("replaces token",)),
    "resumed-with-another": Case(
        {**OLD, "token": "third"},
        NEW,
        record(OLD, intended=NEW),
        record(OLD, intended=NEW),
        differences=("replaces token",),
    ),
    "taken-over": Case(NEW, NEW, record(OLD, intended=NEW, checkout="there"), ONE),
    "unfinished-elsewhere": Case(
        OLD, NEW, record(OLD, intended=NEW, checkout="there"), ONE, differences=("replaces token",), reason="not ended"
    ),
    "unfinished-by-a-copy-of-this": Case(
        OLD, NEW, record(OLD, intended=NEW), ONE, differences=("replaces token",), reason="not ended"
    ),
    # Unknown files
    "stranger": Case(
        OLD, {**OLD, "stray": "x"}, ONE, ONE, differences=("removes stray, unknown",), reason="stray on a is not from"
    ),
    "overwritten": Case(
        OLD, {**OLD, "token": "x"}, ONE, ONE, differences=("replaces token, unknown",), reason="token on a is not from"
    ),
    # Without a record
    "adopts-the-same": Case(OLD, OLD, other=OLD),
    "adopts-and-adds": Case(NEW | {"more": "x"}, NEW, other=NEW, differences=("adds more",)),
    "adopts-no-other": Case(
        NEW, OLD, other=NEW, differences=("replaces token, unknown",), reason="token on a is not from here"
    ),
    "adopts-not-where-another-differs": Case(OLD, OLD, other=NEW, reason="token on b is not from here"),
    "lost-its-record": Case(NEW, OLD, mine=ONE, other=OLD, differences=("replaces token",)),
    # Without etcd
    "no-etcd-same": Case(OLD, OLD, mine=ONE, other=OLD, answered=False),
    "no-etcd-takes-nothing": Case(
        NEW, OLD, mine=ONE, other=OLD, answered=False, differences=("replaces token",), reason="etcd does not answer"
    ),
    # What each machine has of its own
    "renewed-certificate": Case(
        OLD | RENEWED, OLD | PAIR, record(OLD, own=PAIR), ONE, differences=("renews etcd-peer.crt",)
    ),
    "renewed-without-etcd": Case(
        OLD | RENEWED,
        OLD | PAIR,
        mine=record(OLD, own=PAIR),
        other=OLD,
        answered=False,
        differences=("renews etcd-peer.crt",),
    ),
    "lost-certificate": Case(
        OLD | LOST,
        OLD | PAIR,
        record(OLD, own=PAIR),
        ONE,
        differences=("replaces etcd-peer.crt", "replaces etcd-peer.key"),
        reason="on a: etcd-peer.crt, etcd-peer.key",
    ),
    "new-machine": Case(
        OLD | LOST,
        EMPTY,
        ONE,
        ONE,
        differences=("adds ca.crt", "adds etcd-peer.crt", "adds etcd-peer.key", "adds token"),
    ),
    "another-key": Case(
        OLD | {"etcd-peer.crt": "x", "etcd-peer.key": "y"},
        OLD | PAIR,
        record(OLD, own=PAIR),
        record(OLD, own=PAIR),
        differences=("replaces etcd-peer.crt", "replaces etcd-peer.key"),
    ),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_decision(case: Case) -> None:
    decision = case.decide()
    shown = [f"{each.effect} {each.name}{'' if each.known else ', unknown'}" for each in decision.differences]
    assert tuple(shown) == case.differences
    assert {machine for each in decision.differences for machine in each.machines} <= {"a"}
    if case.reason:
        assert case.reason in "; ".join(decision.refusals)
    else:
        assert decision.refusals == ()


def test_what_is_asked_for_is_what_would_be_gone() -> None:
    decision = Case({"ca.crt": "ca", "more": "x"}, OLD, ONE, ONE).decide()
    assert [str(each) for each in decision.taking] == ["removes token on a"]


class TestTheRecord:
    def test_the_same_again_keeps_its_number_and_another_gets_the_next(self) -> None:
        first = begun(SecretsRecord("id"), generation(1, OLD))
        assert first.intended is not None
        assert begun(first, generation(1, OLD)).intended == first.intended
        second = begun(first, generation(1, NEW))
        assert second.intended is not None
        assert second.intended.number == 2
        assert second.knows("token", prints(OLD)["token"])

    def test_a_checkout_that_is_ahead_of_a_restored_etcd_stays_ahead(self) -> None:
        found = begun(ONE, generation(7, NEW)).intended
        assert found is not None
        assert found.number == 7

    def test_it_survives_being_written(self) -> None:
        for each in (TWO, record(OLD, intended=NEW)):
            assert SecretsRecord.parse(each.text()) == each
            assert Remembered.parse(Remembered("here", each).text()).record == each

    def test_earlier_ones_are_known_but_not_without_end(self) -> None:
        sets: list[Files] = [{"token": str(number)} for number in range(30)]
        found = record(*sets)
        known = [number for number in range(30) if found.knows("token", prints({"token": str(number)})["token"])]
        assert known == list(range(13, 30))

    def test_a_fingerprint_needs_the_key_and_the_name(self) -> None:
        value = digest("password")
        assert len({fingerprint(key, name, value) for key in (b"a", b"b") for name in ("x", "y")}) == 4
