"""`[X-Fleet]`: every option in both spellings; fleet's patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_examples import imported, notes, refusals

from argosy.fleet.importing import Imported
from argosy.text import matching

RUN = "[Service]\nRestart=always\nExecStart=/usr/bin/docker run x:1\n"


def placed(options: str, name: str = "web@.service", **others: str) -> Imported:
    return imported({name: f"{RUN}[X-Fleet]\n{options}\n", **{f"{key}.service": text for key, text in others.items()}})


def definition(options: str, name: str = "web@.service", **others: str) -> dict[str, object]:
    result = placed(options, name, **others)
    assert refusals(result) == []
    found = dict(result.services["web"])
    return {key: value for key, value in found.items() if key not in ("image", "replicas")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("Global=true", {"global": True}),
        ("Global=yes", {"global": True}),
        ("Global=true\nGlobal=false", {}),
        ("Global=no", {}),
        ("Global=true\nMachineMetadata=a=b\nConflicts=web@*", {"global": True, "constraints": ["a=b"]}),
        ("MachineMetadata=tier=green", {"constraints": ["tier=green"]}),
        ("X-ConditionMachineMetadata=tier=green", {"constraints": ["tier=green"]}),
        ('MachineMetadata="tier=green" "disk=ssd"', {"constraints": ["tier=green", "disk=ssd"]}),
        ("MachineMetadata=tier=green\nMachineMetadata=tier=green", {"constraints": ["tier=green"]}),
        ("MachineMetadata=nothing", {}),
        ("MachineMetadata=a=b=c", {}),
        ("MachineMetadata=app=%p", {"constraints": ["app=web"]}),
        ("Conflicts=web@*.service", {"max_per_machine": 1}),
        ("Conflicts=%p@*.service", {"max_per_machine": 1}),
        ("Conflicts=%p@%i.service", {}),
        ("Conflicts=%n", {}),
        ("X-Conflicts=web@?.service", {"max_per_machine": 1}),
        ("Conflicts=other*", {}),
        ("MachineID=148a18ff6e954cd892dac9de9bb90d5a", {"constraints": ["machine=air-03"]}),
        ("X-ConditionMachineID=air-01", {"constraints": ["machine=air-01"]}),
    ],
)
def test_options_become_keys(options: str, expected: dict[str, object]) -> None:
    assert definition(options) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("MachineMetadata=tier=green\nMachineMetadata=tier=blue", "tier=green or tier=blue"),
        ('MachineMetadata="a=b c"', "is not KEY=VALUE"),
        ("MachineMetadata=app=%i", "differs between the instances"),
        ("Conflicts=[", "'[' is not a pattern"),
        ("MachineMetaData=a=b", "fleet has no option MachineMetaData (did you mean 'MachineMetadata'?)"),
    ],
)
def test_what_no_definition_says_is_refused_with_its_line(options: str, reason: str) -> None:
    result = placed(options)
    assert result.services == {}
    assert [line for line, _ in refusals(result)] == [4 + options.count("\n") + 1]
    assert reason in refusals(result)[0][1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("MachineID=nobody", "MachineID dropped: no machine is known by the ID 'nobody'"),
        ("MachineID=%i", "MachineID dropped: no machine is known by the ID '%i'"),
        ("X-ConditionMachineBootID=abc", "MachineID dropped: no machine is known by the ID 'abc'"),
        (
            "MachineOf=other.service",
            "MachineOf dropped: Swarm places each service by itself: let discovery find other.service,",
        ),
        (
            "X-ConditionMachineOf=other@%i.service",
            "MachineOf dropped: Swarm places each service by itself: let discovery find other@%i.service,",
        ),
    ],
)
def test_what_no_definition_says_of_machines_is_noted_with_its_line(options: str, reason: str) -> None:
    result = placed(options)
    assert dict(result.services["web"]) == {"image": "x:1", "replicas": 1}
    assert [line for line, said in notes(result) if said.startswith(reason)] == [5]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("Conflicts=db@%i.service", {"conflicts": ["db"]}),
        ("Replaces=db@%i.service", {"conflicts": ["db"]}),
    ],
)
def test_a_conflict_between_two_instances_of_one_name_is_told_to_hold_for_all(
    options: str, expected: dict[str, object]
) -> None:
    result = imported({"web@.service": f"{RUN}[X-Fleet]\n{options}\n", "db@.service": RUN})
    assert {key: result.services["web"].get(key) for key in expected} == expected
    assert [line for line, said in notes(result) if said.endswith("so it keeps all of them apart")] == [5]


def test_for_fleet_no_instance_is_in_conflict_with_itself() -> None:
    result = placed("Conflicts=%p@%i.service")
    assert (5, "Conflicts=web@%i.service dropped: for fleet no unit is in conflict with itself") in notes(result)


def test_the_first_machine_counts_as_for_fleet() -> None:
    assert definition("MachineID=air-01\nMachineID=air-03") == {"constraints": ["machine=air-01"]}


def test_a_global_unit_obeys_its_conflicts() -> None:
    assert definition("Global=true\nConflicts=db.service", "web.service", db=RUN) == {
        "global": True,
        "conflicts": ["db"],
    }
    assert definition("Global=true\nConflicts=web@*", db=RUN) == {"global": True}


def test_conflicts_with_other_units_become_conflicts() -> None:
    assert definition("Conflicts=db*.service", db=RUN) == {"conflicts": ["db"]}
    assert definition("Replaces=db.service", db=RUN) == {"conflicts": ["db"]}
    assert definition("Conflicts=*", db=RUN) == {"max_per_machine": 1, "conflicts": ["db"]}
    assert definition("Conflicts=web.service", "web.service") == {}
    both = {"conflicts": ["db", "queue"]}
    assert definition("Conflicts=db.service  queue.service", db=RUN, queue=RUN) == both
    assert definition('Conflicts="db.service" "queue.service"', db=RUN, queue=RUN) == both


def test_a_conflict_with_a_refused_unit_is_noted() -> None:
    result = placed("Conflicts=db.service", db=RUN.replace("run", "run --privileged"))
    assert dict(result.services["web"]) == {"image": "x:1", "replicas": 1}
    assert (5, "Conflicts=db.service: db is refused, so nothing keeps them apart") in notes(result)


def test_a_value_over_several_lines_names_its_own() -> None:
    result = placed('MachineMetadata="a=b" \\\n  "c=d e"')
    assert [line for line, _ in refusals(result)] == [6]


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", ["a", "ab", "b-"]),
        ("a*", ["a", "ab"]),
        ("?", ["a"]),
        ("[a-c]", ["a"]),
        ("[^a]*", ["b-"]),
        ("*[-]", []),
        ("b\\-", ["b-"]),
        ("a/*", ["a/b"]),
        ("[b-a]*", []),
        ("[^b-a]", ["a"]),
        ("[\\]\\-a]", ["a"]),
        ("*b", ["ab"]),
    ],
)
def test_patterns_fit_as_gos_do(pattern: str, fitting: list[str]) -> None:
    if pattern == "*[-]":
        with pytest.raises(ValueError, match="is not a pattern"):
            matching(pattern, [])
        return
    assert matching(pattern, ["a", "ab", "b-", "a/b"]) == fitting


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-", "a\\", "[]a]", "[a-]"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        matching(pattern, ["x"])


@given(st.text(alphabet="ab*?", max_size=12), st.text(alphabet="ab/", max_size=12))
def test_patterns_fit_as_a_regular_expression_does(pattern: str, name: str) -> None:
    expression = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    assert bool(matching(pattern, [name])) == bool(re.fullmatch(expression, name))


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert matching("*a" * 50 + "b", ["a" * 255]) == []
