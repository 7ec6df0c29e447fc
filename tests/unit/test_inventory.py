"""Words and machines: which machine a word means, which words are refused, and the file that remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from raised import raises

from argosy import inventory
from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.model import Machine

ONE = Machine("air-01", "10.0.0.1")
TWO = Machine("air-02", "10.0.0.2")
EIGHT = Machine("db", "10.0.0.8", "flatcar", {"tier": "green"})


def settings(root: Path, **machines: object) -> Settings:
    return load({"clusters": {"test": {"machines": machines}}}, root=root)


def resolve(*words: str, known: tuple[Machine, ...] = ()) -> list[Machine]:
    return inventory.resolve_words(words, known, [EIGHT], "air", "debian")


class TestNames:
    def test_new_addresses_get_the_lowest_free_names_in_their_order(self) -> None:
        assert resolve("10.0.0.9", "10.0.0.3") == [Machine("air-01", "10.0.0.9"), Machine("air-02", "10.0.0.3")]

    def test_a_gap_is_filled(self) -> None:
        assert resolve("10.0.0.1", known=(TWO,))[0].name == "air-01"

    def test_a_name_given_later_on_the_same_line_is_not_taken_from_it(self) -> None:
        assert [machine.name for machine in resolve("10.0.0.1", "air-01=10.0.0.2")] == ["air-02", "air-01"]

    def test_a_known_address_keeps_its_name(self) -> None:
        assert resolve("10.0.0.2", known=(ONE, TWO)) == [TWO]

    def test_a_known_name_means_its_machine(self) -> None:
        assert resolve("air-02", "db", known=(ONE, TWO)) == [TWO, EIGHT]

    def test_a_pair_that_says_what_is_known_is_fine(self) -> None:
        assert resolve("air-01=10.0.0.1", known=(ONE,)) == [ONE]

    def test_numbers_grow_beyond_two_digits(self) -> None:
        assert inventory.next_name("air", [f"air-{number:02}" for number in range(1, 100)]) == "air-100"


def test_a_checkout_that_knows_no_machine_says_where_they_are_from() -> None:
    with raises(ConfigError, "inv operator.join", path="air-01"):
        inventory.resolve_words(["air-01"], (), (), "air", "debian")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["10.0.0"], "10.0.0: not an IPv4 address"),
        (["10.0.0.256"], "10.0.0.256: not an IPv4 address"),
        (["010.0.0.1"], "010.0.0.1: not an IPv4 address"),
        (["10.0.0.1/24"], "10.0.0.1/24: neither an IPv4 address nor a known machine"),
        (["::1"], "::1: neither an IPv4 address nor a known machine"),
        (["air-03"], "air-03: neither an IPv4 address nor a known machine (did you mean 'air-01'?); known: air-01, db"),
        ([""], "machines: neither an IPv4 address"),
        (["0.0.0.0"], "0.0.0.0: not the address of a machine"),
        (["224.0.0.1"], "224.0.0.1: not the address of a machine"),
        (["255.255.255.255"], "255.255.255.255: not the address of a machine"),
        (["127.0.0.1"], "127.0.0.1: a loopback address"),
        (["x=127.0.0.2"], "127.0.0.2: a loopback address"),
        (["Air_1=10.0.0.5"], "Air_1=10.0.0.5: a machine's name is made of"),
        (["air-01=10.0.0.5"], "air-01=10.0.0.5: air-01 is already the machine at 10.0.0.1"),
        (["x=10.0.0.1"], "x=10.0.0.1: 10.0.0.1 is already the address of air-01"),
        (["10.0.0.5", "10.0.0.5"], "machines: 10.0.0.5 is given twice"),
        (["10.0.0.1", "air-01"], "machines: 10.0.0.1 is given twice"),
        (["x=10.0.0.5", "x=10.0.0.6"], "machines: x is given twice"),
    ],
)
def test_bad_words_are_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(*words, known=(ONE,))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


class TestFile:
    def test_nothing_is_known_at_first(self, tmp_path: Path) -> None:
        assert inventory.load(settings(tmp_path)) == []

    def test_what_is_saved_is_loaded_sorted(self, tmp_path: Path) -> None:
        ten = Machine("air-10", "10.0.0.10")
        hundred = Machine("air-100", "10.0.0.100")
        inventory.save(settings(tmp_path), [hundred, EIGHT, ten, TWO])
        assert inventory.load(settings(tmp_path)) == [TWO, ten, hundred, EIGHT]

    def test_the_same_machines_give_the_same_file_untouched(self, tmp_path: Path) -> None:
        inventory.save(settings(tmp_path), [ONE, EIGHT])
        path = settings(tmp_path).state_path / inventory.FILE_NAME
        before = path.stat()
        inventory.save(settings(tmp_path), [EIGHT, ONE])
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert json.loads(path.read_text())["machines"][1]["metadata"] == {"tier": "green"}

    def test_remember_adds_and_replaces_by_name_and_forget_drops(self, tmp_path: Path) -> None:
        inventory.remember(settings(tmp_path), [ONE, TWO])
        moved = Machine("air-02", "10.0.0.22")
        assert inventory.remember(settings(tmp_path), [moved]) == [ONE, moved]
        assert inventory.forget(settings(tmp_path), ["air-01", "air-77"]) == [moved]

    def test_forget_makes_no_folder(self, tmp_path: Path) -> None:
        assert inventory.forget(settings(tmp_path), ["air-01"]) == []
        assert list(tmp_path.iterdir()) == []

    def test_two_machines_at_one_address_are_not_saved(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"10\.0\.0\.1 is given twice"):
            inventory.save(settings(tmp_path), [ONE, Machine("air-02", "10.0.0.1")])

    @pytest.mark.parametrize(
        "machine", [Machine("Old.host", "10.0.0.9"), Machine("air-09", "::1"), Machine("air-09", "10.0.0.9", "plan9")]
    )
    def test_what_could_not_be_read_again_is_not_written(self, tmp_path: Path, machine: Machine) -> None:
        inventory.save(settings(tmp_path), [ONE])
        with raises(ConfigError, path=f"machines.{machine.name}"):
            inventory.remember(settings(tmp_path), [machine])
        assert inventory.load(settings(tmp_path)) == [ONE]

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"machines": [{"name": "air-01"}]}', '{"machines": [{"name": "a", "address": "x"}]}']
    )
    def test_a_broken_file_is_an_error_with_its_path(self, tmp_path: Path, text: str) -> None:
        path = settings(tmp_path).state_path / inventory.FILE_NAME
        path.parent.mkdir(parents=True)
        path.write_text(text)
        with pytest.raises(ConfigError, match="repair or remove it") as caught:
            inventory.load(settings(tmp_path))
        assert str(caught.value).startswith(f"{path}: ")

    def test_select_without_words_means_all(self, tmp_path: Path) -> None:
        inventory.save(settings(tmp_path), [ONE, TWO])
        assert inventory.select(settings(tmp_path)) == [ONE, TWO]
        assert inventory.select(settings(tmp_path), ["10.0.0.2", "air-01", "air-02"]) == [TWO, ONE]

    def test_select_refuses_what_is_not_known(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no machine of cluster 'test' is known yet"):
            inventory.select(settings(tmp_path), ["air-01"])
        inventory.save(settings(tmp_path), [ONE])
        with raises(ConfigError, path="10.0.0.7"):
            inventory.select(settings(tmp_path), ["10.0.0.7"])


class TestConfigured:
    def test_the_configuration_says_os_and_metadata(self, tmp_path: Path) -> None:
        config = settings(tmp_path, db={"address": "10.0.0.8", "os": "flatcar", "metadata": {"tier": "green"}})
        inventory.save(config, [Machine("db", "10.0.0.8")])
        assert inventory.resolve(config, ["db"]) == [EIGHT]

    def test_a_machine_that_stands_elsewhere_is_refused(self, tmp_path: Path) -> None:
        config = settings(tmp_path, db={"address": "10.0.0.8"})
        inventory.save(config, [Machine("db", "10.0.0.9")])
        with raises(ConfigError, "10.0.0.9", path="machines.db.address"):
            inventory.resolve(config, ["db"])

    def test_an_address_that_belongs_to_another_is_refused(self, tmp_path: Path) -> None:
        config = settings(tmp_path, db={"address": "10.0.0.1"})
        inventory.save(config, [ONE])
        with raises(ConfigError, "10.0.0.1", "air-01", path="machines.db.address"):
            inventory.resolve(config, ["10.0.0.1"])
