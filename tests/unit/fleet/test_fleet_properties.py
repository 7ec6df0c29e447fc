"""Whatever the files hold, an import ends: each has its outcome, each definition is valid and read back the same."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_examples import KNOWN, UNITS

from argosy.config.scheduled import ScheduledSettings
from argosy.fleet.importing import Imported, import_units
from argosy.fleet.options import SYNTAX
from argosy.fleet.placement import SPELLINGS
from argosy.fleet.report import render_services, rows, to_json
from argosy.rendering.systemd import quote_word

RUN = SYNTAX["docker run"]
LINES = sorted({line.strip() for path in UNITS.iterdir() for line in path.read_text().splitlines()})
JUNK = [
    "\\",
    "'",
    '"',
    "%",
    "$",
    "${",
    "%i",
    "%H",
    "${X}",
    "$X",
    "$$",
    "%%",
    ";",
    "#",
    "\0",
    "\udcff",
    "\n",
    "=",
    "[",
    "]",
]
WORDS = st.one_of(st.sampled_from(JUNK), st.text(max_size=8), st.from_regex(r"[a-z0-9:/.@{},=-]{1,12}", fullmatch=True))
TEXT = st.lists(WORDS, max_size=6).map(" ".join)
OPTIONS = st.one_of(
    st.tuples(st.sampled_from(sorted([*RUN.flags, *RUN.valued])), TEXT).map(lambda pair: f"--{pair[0]}={pair[1]}"),
    st.tuples(st.sampled_from(sorted(RUN.valued)), WORDS).map(lambda pair: f"--{pair[0]} {pair[1]}"),
    st.tuples(st.sampled_from("acdehilmPpqtuvw"), WORDS).map("-".join),
    WORDS,
)
RUNS = st.tuples(st.lists(OPTIONS, max_size=6), TEXT).map(
    lambda pair: f"/usr/bin/docker run {' '.join(pair[0])} x:1 {pair[1]}"
)
SCRIPTS = st.lists(st.one_of(RUNS, WORDS, st.sampled_from(LINES)), max_size=5).map("; ".join)
COMMANDS = st.one_of(
    RUNS,
    SCRIPTS.map(lambda script: f"/bin/sh -c '{script}'"),
    st.tuples(TEXT, TEXT).map(lambda pair: f"/usr/bin/etcdctl set /services/{pair[0]} {pair[1]}"),
    TEXT,
)
KEYS = st.sampled_from(
    ["ExecStart", "ExecStartPre", "ExecStop", "ExecStartPost", "Environment", "Restart", "RestartSec"]
)
FLEET = st.tuples(st.sampled_from([*SPELLINGS, "Other"]), TEXT).map("=".join)
UNIT = st.tuples(
    st.sampled_from(["After", "BindsTo", "Requires", "PartOf"]), st.sampled_from(["a.service", "b@%i.service", "x"])
)
BODIES = st.builds(
    lambda unit, service, fleet, extra: "\n".join(
        ["[Unit]", *unit, "[Service]", *service, "[X-Fleet]", *fleet, *extra]
    ),
    st.lists(UNIT.map("=".join), max_size=2),
    st.lists(st.tuples(KEYS, COMMANDS).map("=".join), max_size=5),
    st.lists(FLEET, max_size=3),
    st.lists(st.one_of(st.sampled_from(LINES), TEXT), max_size=4),
)
NAMES = st.sampled_from(
    ["a.service", "b@.service", "b@1.service", "b@x.service", "c-sk@.service", "d.timer", "x", "", "@.service"]
)


def check(units: list[tuple[str, str]]) -> Imported:
    given_units = {f"{number}/{name}": text for number, (name, text) in enumerate(units)}
    result = import_units(given_units, KNOWN)
    assert [outcome.path for outcome in result.outcomes] == list(given_units)
    for outcome in result.outcomes:
        assert (outcome.became == "refused") == bool(outcome.refusals)
        assert outcome.service in result.services or outcome.became == "refused"
    text = render_services(result)
    text.encode()
    read: dict[str, Any] = yaml.safe_load(text)["scheduled"]
    assert read == {name: dict(service) for name, service in result.services.items()}
    for name, definition in read.items():
        assert (
            ScheduledSettings.model_validate(definition).model_dump()
            == ScheduledSettings.model_validate(result.services[name]).model_dump()
        )
    for row in rows(result):
        "".join(row).encode()
    assert len(to_json(result)["units"]) == len(units)
    return result


@given(st.lists(st.tuples(NAMES, st.text()), max_size=3))
def test_any_text_has_its_outcome(units: list[tuple[str, str]]) -> None:
    check(units)


@given(st.lists(st.tuples(st.text(max_size=12), st.text(st.characters(), max_size=40)), max_size=3))
def test_any_name_has_its_outcome(units: list[tuple[str, str]]) -> None:
    check(units)


@settings(max_examples=200)
@given(st.lists(st.tuples(NAMES, BODIES), min_size=1, max_size=4))
def test_any_unit_has_its_outcome(units: list[tuple[str, str]]) -> None:
    check(units)


@st.composite
def changed_examples(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Some of the examples, some of their lines changed: most of them still say something."""
    found = []
    for path in draw(st.lists(st.sampled_from(sorted(UNITS.iterdir())), min_size=1, max_size=4, unique=True)):
        lines = path.read_text().splitlines()
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(lines) - 1))
            where = draw(st.integers(0, len(lines[at])))
            new = draw(st.one_of(WORDS, OPTIONS, st.sampled_from(LINES)))
            mixed = lines[at][:where] + new + lines[at][where:]
            lines[at] = draw(st.sampled_from([new, "", mixed, f"{lines[at]}\n{new}"]))
        found.append((path.name, "\n".join(lines)))
    return found


@settings(max_examples=300)
@given(changed_examples())
def test_any_change_of_the_examples_has_its_outcome(units: list[tuple[str, str]]) -> None:
    check(units)


@settings(max_examples=200)
@given(st.lists(OPTIONS, max_size=4), st.lists(WORDS, max_size=3))
def test_any_container_has_its_outcome(options: list[str], command: list[str]) -> None:
    line = " ".join(["/usr/bin/docker run", *options, "example/x:1", *command])
    check([("a.service", f"[Service]\nExecStart={line}\nRestart=always\n")])


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), max_size=4), st.integers(0, 5))
def test_words_arrive_as_they_were_meant(words: list[str], pad: int) -> None:
    line = " ".join(
        ["/usr/bin/docker", "run", "-e", quote_word(f"V={'v' * pad}"), "example/x:1", *map(quote_word, words)]
    )
    result = check([("a.service", f"[Service]\nExecStart={line}\nRestart=always\n")])
    assert result.services["a"].get("command", []) == words
    assert result.services["a"]["env"] == {"V": "v" * pad}
