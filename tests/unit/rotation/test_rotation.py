"""What a rotation does next, decided from what is seen: every phase, every state of a machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from argosy.cluster.change import Finish
from argosy.rotation.plan import (
    Act,
    Enter,
    Gate,
    MachineWork,
    ObservedMachine,
    Phase,
    Record,
    RotationRequest,
    begin,
    next_action,
    readers,
    work,
)

USES = {"database": ["password"], "web": ["token", "password"]}
RECORD = Record("r1", Phase.ROLL, "2026-01-01T00:00:00Z")
GOOD = {name: ObservedMachine(name, trusts="new", member=True) for name in ("a", "b", "c")}


def acts(phase: Phase, seen: ObservedMachine) -> list[str]:
    actions = work(phase, seen, "new", USES)
    return [f"{action.act.name.lower().replace('_', '-')} {','.join(action.what)}".strip() for action in actions]


class TestWork:
    def test_what_uses_a_changed_secret_is_restarted_in_the_order_of_the_starts(self) -> None:
        seen = ObservedMachine("a", changes=("password",), trusts="new", member=True)
        assert acts(Phase.ROLL, seen) == ["upload password", "restart database", "restart web"]

    def test_what_runs_with_an_older_file_is_restarted_without_an_upload(self) -> None:
        assert acts(Phase.ROLL, ObservedMachine("a", stale=("web",))) == ["restart web"]

    def test_certificates_need_no_restart(self) -> None:
        changes = ("etcd-peer.crt", "etcd-server.crt", "etcd-client.crt")
        assert acts(Phase.ISSUE, ObservedMachine("a", changes, trusts="new", member=True)) == [
            "upload " + ",".join(changes)
        ]

    def test_another_ca_is_for_docker_and_for_etcd(self) -> None:
        seen = ObservedMachine("a", changes=("ca.crt",), trusts="old", member=True, distrusts=True)
        for phase in Phase:
            assert acts(phase, seen) == ["upload ca.crt", "trust-registry", "restart-etcd"]
        assert acts(Phase.TRUST, replace(seen, member=False)) == ["upload ca.crt", "trust-registry"]

    def test_a_renewed_ca_certificate_restarts_etcd_where_it_arrives(self) -> None:
        assert "restart-etcd" in acts(Phase.ROLL, ObservedMachine("a", changes=("ca.crt",), member=True))
        assert acts(Phase.ROLL, ObservedMachine("a", member=True)) == []

    @pytest.mark.parametrize("phase", [Phase.TRUST, Phase.RETIRE])
    def test_where_all_depends_on_it_not_knowing_what_etcd_trusts_is_not_enough(self, phase: Phase) -> None:
        assert acts(phase, ObservedMachine("a", member=True)) == ["restart-etcd"]
        assert acts(phase, ObservedMachine("a", trusts="new", member=True)) == []


class TestNext:
    @pytest.mark.parametrize("phase", Phase)
    def test_a_phase_ends_when_nothing_is_left_anywhere_and_all_are_well(self, phase: Phase) -> None:
        assert next_action(phase, GOOD.values(), (), "new", USES) == Gate(("a", "b", "c"))
        action = next_action(phase, GOOD.values(), GOOD, "new", USES)
        following = {Phase.TRUST: Phase.ISSUE, Phase.ISSUE: Phase.RETIRE}.get(phase)
        assert action == (Enter(following) if following else Finish())

    def test_who_was_done_last_is_waited_for_before_the_next_begins(self) -> None:
        seen = {**GOOD, "b": ObservedMachine("b", changes=("token",), trusts="new")}
        assert next_action(Phase.ROLL, seen.values(), ("c",), "new", USES) == Gate(("a",))
        action = next_action(Phase.ROLL, seen.values(), ("a", "c"), "new", USES)
        assert isinstance(action, MachineWork)
        assert action.machine == "b"

    def test_who_is_not_well_goes_first(self) -> None:
        seen = [ObservedMachine("a", ("token",)), ObservedMachine("b", ("token",), trouble="web: its check fails")]
        action = next_action(Phase.ROLL, seen, (), "new", USES)
        assert isinstance(action, MachineWork)
        assert action.machine == "b"

    def test_never_is_a_machine_touched_while_one_without_work_is_not_gated(self) -> None:
        states = [ObservedMachine("", trusts="new", member=True), ObservedMachine("", ("ca.crt",), (), "old", True)]
        for phase, chosen, gated in product(Phase, product(states, repeat=3), product((False, True), repeat=3)):
            seen = [replace(observed_machine, name=name) for observed_machine, name in zip(chosen, "abc", strict=True)]
            waited = {name for name, flag in zip("abc", gated, strict=True) if flag}
            action = next_action(phase, seen, waited, "new", USES)
            idle = {observed_machine.name for observed_machine in seen if not observed_machine.changes}
            if idle - waited:
                assert action == Gate(tuple(sorted(idle - waited)))
            elif len(idle) < 3:
                assert isinstance(action, MachineWork)
                assert action.machine not in idle
            else:
                assert isinstance(action, Enter | Finish)


class TestRecord:
    def test_it_is_read_as_it_was_written(self) -> None:
        record = replace(RECORD, only=("a", "b"), made=("a",), certificates=True)
        assert Record.parse(record.text()) == record
        assert record.to_make == ("b",)

    def test_one_that_an_older_release_wrote_is_read(self) -> None:
        """Its keys are in another order."""
        text = (
            '{"id": "r1", "phase": "trust", "started": "2026-01-01T00:00:00Z", "certificates": true, '
            '"only": ["a", "b"], "made": ["a"], "more": 1}'
        )
        assert Record.parse(text) == Record("r1", Phase.TRUST, "2026-01-01T00:00:00Z", ("a", "b"), ("a",), True)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "x", "phase": "none", "started": ""}'])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".+"):
            Record.parse(text)

    def test_a_new_one_is_what_is_wished(self) -> None:
        made = begin(RotationRequest(only=("a",), certificates=True), None, "r2", "now")
        assert made == Record("r2", Phase.ROLL, "now", ("a",), (), True)
        assert begin(RotationRequest(authority=True), None, "r2", "now").phase is Phase.TRUST

    def test_the_present_one_goes_on_with_more_in_it(self) -> None:
        present = replace(RECORD, only=("a",), made=("a",))
        assert begin(RotationRequest(only=("a",)), present, "r2", "now") == present
        assert begin(RotationRequest(only=("b",)), present, "r2", "now").to_make == ("b",)

    def test_another_kind_has_to_wait(self) -> None:
        with pytest.raises(ValueError, match=r"inv secrets\.rotate resumes it"):
            begin(RotationRequest(authority=True), RECORD, "r2", "now")
        with pytest.raises(ValueError, match=r"is to use certificates .* inv secrets\.rotate --ca resumes"):
            begin(RotationRequest(), replace(RECORD, phase=Phase.ISSUE), "r2", "now")

    def test_deeds_say_what_they_are(self) -> None:
        seen = ObservedMachine("a", ("ca.crt", "token"), (), "old", True, True)
        assert [str(action) for action in work(Phase.TRUST, seen, "new", USES)] == [
            "upload ca.crt, token",
            "let Docker trust the registry by the new ca.crt",
            "restart etcd, which reads its CA only at its start",
            "restart web",
        ]
        assert {action.act for action in work(Phase.TRUST, seen, "new", USES)} == set(Act)


def test_scheduled_services_that_read_what_was_rotated_are_named() -> None:
    secrets = {"web": ["password", "token"], "jobs": ["token"], "static": []}
    assert readers(secrets, RotationRequest(only=("password",))) == ["web"]
    assert readers(secrets, RotationRequest()) == ["web", "jobs"]
    assert (
        readers(secrets, RotationRequest(certificates=True)) == readers(secrets, RotationRequest(authority=True)) == []
    )
