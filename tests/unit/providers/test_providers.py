"""Providers by their names: what `provider:` takes, and what one of somebody's own is configured by."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argosy.config.loading import Settings, load
from argosy.config.providers import IMPLEMENTATIONS
from argosy.errors import ConfigError
from argosy.providers import Provider, provider_of, register

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pool() -> Iterator[None]:
    """A provider that no package of Argosy's brings."""
    register("pool", "pool:Pool")
    yield
    del IMPLEMENTATIONS["pool"]


def settings(root: Path = ROOT, **sections: Any) -> Settings:
    return load({"clusters": {"here": {"provider": "pool", **sections}}}, root=root)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_each_name_has_a_provider(name: str) -> None:
    assert isinstance(provider_of(load({"provider": name, "clusters": {"here": {}}})), Provider)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"provider": "vagarnt", "clusters": {"here": {}}}, "provider"),
        ({"clusters": {"here": {"provider": "vagarnt"}}}, "clusters.here.provider"),
        ({"providers": {"vagarnt": {}}, "clusters": {"here": {}}}, "providers.vagarnt"),
    ],
)
def test_an_unknown_one_is_refused_with_its_path_and_the_nearest(document: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'vagrant'.*; known: static, vagrant, gce$") as refused:
        load(document)
    assert refused.value.path == path


@pytest.mark.usefixtures("pool")
def test_one_of_one_s_own_completes_the_settings(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("one 10.0.0.1\ntwo 10.0.0.2\n")
    loaded = settings(tmp_path, providers={"pool": {"file": "list"}}, machines={"two": {"address": "10.0.0.9"}})
    completed = provider_of(loaded).complete(loaded)
    assert {name: machine.address for name, machine in completed.machines.items()} == {
        "one": "10.0.0.1",
        "two": "10.0.0.9",
    }
    assert provider_of(completed).complete(completed) == completed


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("own", "message", "path"),
    [
        ({"flie": "list"}, "unknown key .did you mean 'file'", "providers.pool.flie"),
        ({"file": 7}, "valid string", "providers.pool.file"),
        ({"file": "nowhere"}, "nowhere can't be read: No such file", "providers.pool.file"),
        ({"file": "VERSION"}, "which is not NAME ADDRESS", "providers.pool.file"),
    ],
)
def test_its_own_settings_are_checked_as_all_are(own: dict[str, Any], message: str, path: str) -> None:
    loaded = settings(providers={"pool": own})
    with pytest.raises(ConfigError, match=message) as refused:
        provider_of(loaded).complete(loaded)
    assert refused.value.path == path


@pytest.mark.usefixtures("pool")
def test_a_name_is_given_once() -> None:
    register("pool", "pool:Pool")
    with pytest.raises(ConfigError, match="registered already: pool:Pool"):
        register("pool", Provider())
    with pytest.raises(ConfigError):
        register("gce", "pool:Pool")


def test_an_object_does_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMPLEMENTATIONS, "pool", own := Provider())
    assert provider_of(settings()) is own


def test_registering_imports_nothing_heavy() -> None:
    program = """if True:
        import sys
        from argosy.providers import Provider, register
        register("pool", "pool:Pool")
        print([name for name in ("pydantic", "fabric", "jinja2", "pool") if name in sys.modules])
    """
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_page_shows_the_code_that_the_tests_run() -> None:
    code = (ROOT / "tests/support/pool.py").read_text()
    assert f"```python\n{code}```" in (ROOT / "docs/providers.md").read_text()
