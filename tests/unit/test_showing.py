"""What is asked before something is done, where nobody can answer: pytest's own stdin is no terminal."""

from __future__ import annotations

import pytest

from argosy import console
from argosy.errors import Refused
from argosy.model import Step

UPGRADE, DOWN = Step("air-01", "install"), Step("air-01", "db will be down for about 10 s", down_seconds=10)


def never() -> list[Step]:
    raise AssertionError("nobody needs the plan")


def test_nothing_is_asked_where_nothing_can_be_down() -> None:
    assert console.agreed(never, yes=False, dry_run=False, as_json=False)
    assert console.agreed(never, yes=True, dry_run=False, as_json=False, may_be_down=True)
    assert console.agreed(lambda: [UPGRADE], yes=False, dry_run=False, as_json=False, may_be_down=True)


def test_what_will_be_down_takes_a_yes() -> None:
    with pytest.raises(Refused, match=r"air-01: db will be down for about 10 s. Go ahead\? Nobody is here to answer"):
        console.agreed(lambda: [UPGRADE, DOWN], yes=False, dry_run=False, as_json=False, may_be_down=True)


def test_a_dry_run_shows_it_as_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert not console.agreed(lambda: [UPGRADE, DOWN], yes=False, dry_run=True, as_json=True, may_be_down=True)
    assert '"down_seconds": 10' in capsys.readouterr().out
