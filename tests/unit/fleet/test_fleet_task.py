"""`inv service.import-unit`: what it prints, writes and refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from invoke.program import Program
from unit_examples import UNITS

from argosy.config.loading import load
from argosy.services import definitions
from argosy.tasks import root_collection

WEB = "[Service]\nRestart=always\nExecStart=/usr/bin/docker run --name web-%i -p 8080:80 example/web:1\n"
VPN = "[Service]\nExecStart=/usr/bin/docker run --privileged example/vpn:1\n"
Answer = tuple[int, str, str]
"""Exit code, stdout, stderr."""


class Operator:
    """Runs the task as `inv` does, in a folder of the test's own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def inv(self, *words: str) -> Answer:
        # A task gives its help texts away once, and others want them, too.
        namespace = copy.deepcopy(root_collection())
        namespace.configure({"cluster": "test", "clusters": {"test": {}}})
        self.capsys.readouterr()
        try:
            Program(namespace=namespace).run(["inv", "service.import-unit", *words])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err

    def unit(self, name: str, text: str) -> str:
        (self.folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        return str(self.folder / name)


@pytest.fixture
def operator(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.chdir(tmp_path)
    return Operator(tmp_path, capsys)


def test_definitions_go_to_stdout_and_the_table_to_stderr(operator: Operator) -> None:
    code, out, err = operator.inv(operator.unit("web@.service", WEB))
    assert code == 0
    assert yaml.safe_load(out)["scheduled"]["web"]["ports"] == ["8080:80"]
    assert "service web" in err


def test_with_output_they_are_written_once(operator: Operator) -> None:
    unit, target = operator.unit("web@.service", WEB), operator.folder / "services.yaml"
    code, out, _ = operator.inv(unit, "--output", str(target))
    assert (code, "service web" in out) == (0, True)
    written = target.read_text()
    assert yaml.safe_load(written)["scheduled"]["web"]["image"] == "example/web:1"
    target.write_text("mine")
    code, out, err = operator.inv(unit, "--output", str(target))
    assert (code, out, target.read_text()) == (11, "", "mine")
    assert "--force" in err
    assert operator.inv(unit, "--output", str(target), "--force")[0] == 0
    assert target.read_text() == written


def test_the_ports_that_argosy_has_are_refused_by_protocol(operator: Operator) -> None:
    ports = "-p 53:53/udp -p 4789:1 -p 4789:2/udp -p 22:22 -p 7946:3/udp"
    text = f"[Service]\nRestart=always\nExecStart=/usr/bin/docker run {ports} x:1\n"
    _, out, _ = operator.inv(operator.unit("web.service", text), "--json")
    (unit,) = json.loads(out)["units"]
    taken = {refusal["reason"].split()[1] for refusal in unit["refusals"] if "is taken by Argosy" in refusal["reason"]}
    assert taken == {"22", "53/udp", "4789/udp", "7946/udp"}
    assert len(unit["refusals"]) == 4


def test_a_dry_run_writes_nothing_and_says_what_it_would(operator: Operator) -> None:
    target = operator.folder / "services.yaml"
    code, out, _ = operator.inv(operator.unit("web@.service", WEB), "--output", str(target), "--dry-run")
    assert code == 0
    assert f"{target}: write web" in out
    assert not target.exists()


def test_what_is_refused_ends_with_11_and_the_rest_is_written(operator: Operator) -> None:
    web, vpn = operator.unit("web@.service", WEB), operator.unit("vpn.service", VPN)
    target = operator.folder / "services.yaml"
    code, _, err = operator.inv(web, vpn, "--output", str(target))
    assert code == 11
    assert err.startswith(f"1 of 2 unit files refused, the others are in {target}: {vpn}:2: --privileged")
    assert err.count("\n") == 1
    assert list(yaml.safe_load(target.read_text())["scheduled"]) == ["web"]


def test_a_draft_holds_what_was_refused_as_comments(operator: Operator) -> None:
    web, vpn = operator.unit("web@.service", WEB), operator.unit("vpn.service", VPN)
    target = operator.folder / "services.yaml"
    assert operator.inv(web, vpn, "--output", str(target), "--draft")[0] == 11
    assert list(yaml.safe_load(target.read_text())["scheduled"]) == ["web"]
    assert "  #   gap: line 2: --privileged: " in target.read_text()
    code, out, _ = operator.inv(web, vpn, "--draft")
    assert (code, out) == (11, target.read_text())


def test_what_is_written_is_what_submit_reads(operator: Operator) -> None:
    target = operator.folder / "services.yaml"
    assert operator.inv(*map(str, UNITS.iterdir()), "--output", str(target))[0] == 11
    settings = load({"clusters": {"test": {}}}, "test", operator.folder)
    assert len(definitions.read(settings, [], file=str(target)).names) == 11


def test_json_is_all_of_stdout(operator: Operator) -> None:
    code, out, _ = operator.inv(*map(str, sorted(UNITS.iterdir())), "--json")
    found = json.loads(out)
    assert code == 11
    assert len(found["units"]) == len(list(UNITS.iterdir()))
    assert found["services"]["website"]["replicas"] == 3


def test_an_instance_without_a_file_is_made_of_its_template(operator: Operator) -> None:
    template = Path(operator.unit("web@.service", WEB))
    instances = [str(template.with_name(f"web@{number}.service")) for number in (1, 2, 3)]
    code, out, _ = operator.inv(*instances)
    assert code == 0
    assert yaml.safe_load(out)["scheduled"]["web"]["replicas"] == 3


def test_a_file_that_is_not_there_and_none_at_all_are_refused(operator: Operator) -> None:
    code, _, err = operator.inv("nowhere.service")
    assert (code, err) == (10, "files: nowhere.service can't be read: No such file or directory\n")
    assert operator.inv()[0] == 10
    assert operator.inv(operator.unit("web@.service", WEB), "--output", "no/where.yaml")[0] == 10


def test_bytes_and_names_that_are_no_text_end_in_a_refusal(operator: Operator) -> None:
    junk = operator.unit("junk.service", "[Service]\nExecStart=/usr/bin/docker run \udcff x:1\n\0\x1b[31m\n")
    code, out, err = operator.inv(junk, "--json")
    assert code == 11
    assert json.loads(out)["units"][0]["became"] == "refused"
    assert "\x1b" not in err
