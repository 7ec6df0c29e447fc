"""The structure of lib/argosy: imports lead downwards, none goes round in a circle, and what is pure stays so."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import structure
from scripts.structure import Import

PATHS = structure.modules()
IMPORTS = structure.read_imports(PATHS)
HEAVY_IMPORTS = (
    "pydantic",
    "rich",
    "fabric",
    "paramiko",
    "docker",
    "httpx",
    "cryptography",
    "etcd3",
    "grpc",
    "jinja2",
    "vagrant",
    "google.auth",
    "google.cloud.compute_v1",
)


def planted(folder: Path, **files: str) -> tuple[dict[str, Path], list[Import]]:
    """Return the modules and imports of a small library. `files`: module, its dots as __, and what is in it."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    paths = structure.modules(folder)
    return paths, structure.read_imports(paths)


class TestOrder:
    def test_every_package_and_module_has_one_place(self) -> None:
        assert sorted(structure.ORDER) == sorted({structure.unit(name) for name in PATHS})

    def test_imports_lead_downwards(self) -> None:
        assert [str(upward) for upward in structure.upwards(IMPORTS)] == []

    @pytest.mark.parametrize(
        "line",
        [
            "from argosy.high import roof",
            "def lazy():\n    import argosy.high.roof",
            "from argosy import high",
            'import importlib\nimportlib.import_module("argosy.high.roof")',
        ],
    )
    def test_one_that_leads_up_is_found(self, tmp_path: Path, line: str) -> None:
        _, imports = planted(tmp_path, low__cellar=line, high__roof="from argosy.low import cellar")
        found = structure.upwards(imports, order=("low", "high"))
        assert [imported.importer for imported in found] == ["low.cellar"]

    def test_a_package_without_a_place_is_found(self, tmp_path: Path) -> None:
        _, imports = planted(tmp_path, low__cellar="from argosy.extra import shed", extra__shed="")
        assert [str(upward) for upward in structure.upwards(imports, order=("low",))] == [
            "low.cellar imports extra.shed"
        ]

    def test_the_library_is_named_once(self) -> None:
        """A relative import hides where it leads, and fabfile is argosy.tasks."""
        for name, path in PATHS.items():
            nodes = list(ast.walk(ast.parse(path.read_text())))
            assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), name
        assert [str(imported) for imported in IMPORTS if imported.imported.split(".")[0] == "fabfile"] == []


class TestCircles:
    def test_there_are_none_between_modules(self) -> None:
        assert structure.circles(structure.module_edges(IMPORTS)) == []

    def test_there_are_none_between_packages(self) -> None:
        assert structure.circles(structure.unit_edges(IMPORTS)) == []

    def test_one_of_modules_is_found(self, tmp_path: Path) -> None:
        imports = planted(
            tmp_path,
            a__one="from argosy.a import two",
            a__two="def lazy():\n    from argosy.a.three import f",
            a__three="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from argosy.a.one import g",
        )[1]
        assert structure.circles(structure.module_edges(imports)) == [["a.one", "a.three", "a.two"]]

    def test_one_of_packages_is_found(self, tmp_path: Path) -> None:
        imports = planted(
            tmp_path, a__one="from argosy.b import two", b__two="", b__three="from argosy.a import four", a__four=""
        )[1]
        assert structure.circles(structure.module_edges(imports)) == []
        assert structure.circles(structure.unit_edges(imports)) == [["a", "b"]]


class TestPure:
    def test_what_says_that_it_is_pure_is(self) -> None:
        assert structure.impurities(PATHS, IMPORTS) == []

    def test_most_of_what_decides_says_so(self) -> None:
        """One of each kind, so that the check has something to check."""
        for name in ("rollouts.transitions", "etcd.quorum", "routing.plan", "services.plan", "secrets.transfer"):
            assert structure.is_pure(PATHS[name]), name

    @pytest.mark.parametrize(
        "line",
        [
            "import time",
            "from subprocess import run",
            "def f():\n    import docker.errors",
            'from importlib import import_module\nimport_module("grpc")',
            "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import time",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\nelse:\n    import time",
        ],
    )
    def test_one_that_acts_is_found(self, tmp_path: Path, line: str) -> None:
        found = structure.impurities(*planted(tmp_path, a__one=f'"""Pure. Decides."""\n{line}'))
        assert [way.partition(" -> ")[0] for way in found] == ["a.one"]

    def test_one_that_acts_through_others_is_found(self, tmp_path: Path) -> None:
        files = {
            "a__one": '"""Pure. Decides."""\nfrom argosy.a.two import f',
            "a__two": "def f():\n    from argosy.a import three",
            "a__three": "import socket",
        }
        assert structure.impurities(*planted(tmp_path, **files)) == ["a.one -> a.two -> a.three -> socket"]

    def test_one_whose_package_acts_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "__init__.py").write_text("import socket")
        found = structure.impurities(*planted(tmp_path, a__one='"""Pure. Decides."""'))
        assert found == ["a.one -> a -> socket"]

    def test_a_type_is_no_deed(self, tmp_path: Path) -> None:
        text = '"""Pure."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import socket'
        assert structure.impurities(*planted(tmp_path, a__one=text)) == []


def test_fabric_is_imported_by_the_host_module_alone() -> None:
    assert {imported.importer for imported in IMPORTS if imported.imported.partition(".")[0] == "fabric"} == {
        "ssh.host"
    }


def test_asking_a_running_agent_imports_the_standard_library_alone() -> None:
    # With no agent there it ends at once, after its imports.
    program = f"""if True:
        import sys
        from argosy.agent.__main__ import main
        main(["health", "--socket", "/nowhere"])
        print([name for name in {(*HEAVY_IMPORTS, "invoke")} if name in sys.modules])
    """
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_agent_imports_nothing_that_would_make_it_large() -> None:
    large = [name for name in HEAVY_IMPORTS if name not in ("etcd3", "grpc", "jinja2")]
    program = f"import sys, argosy.agent.run; print([name for name in {large} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_listing_the_tasks_imports_nothing_heavy() -> None:
    program = f"import sys, argosy; argosy.ns; print([name for name in {HEAVY_IMPORTS} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
