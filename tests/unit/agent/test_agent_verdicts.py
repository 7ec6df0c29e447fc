"""What checks in a row mean."""

from __future__ import annotations

import pytest

from argosy.agent.registrar.verdicts import FAILURES, Verdict


class TestVerdicts:
    def test_the_first_pass_counts(self) -> None:
        assert Verdict().after("refused").after("") == Verdict(passing=True, sure=True)

    def test_the_third_failure_in_a_row_counts(self) -> None:
        verdict = Verdict().after("")
        for _ in range(FAILURES - 1):
            verdict = verdict.after("refused")
            assert verdict.passing
        assert not verdict.after("refused").passing
        assert verdict.after("").after("refused").after("refused").passing

    def test_one_that_is_believed_only_falls_as_well(self) -> None:
        verdict = Verdict(passing=True)
        for _ in range(FAILURES):
            verdict = verdict.after("refused")
        assert verdict == Verdict(failures=FAILURES, reason="refused")

    def test_pauses_grow_from_a_fifth_of_a_second_to_the_usual_ones(self) -> None:
        pauses = [Verdict(failures=number).pause_seconds(2) for number in range(1000)]
        assert pauses[0] == pytest.approx(0.2)
        assert pauses == sorted(pauses)
        assert max(pauses) == 2
        assert sum(pauses[:10]) < 5
        assert Verdict(passing=True, sure=True).pause_seconds(2) == 2
        assert Verdict(passing=True).pause_seconds(2) == pytest.approx(0.2)
        assert Verdict().pause_seconds(0.1) == pytest.approx(0.1)
