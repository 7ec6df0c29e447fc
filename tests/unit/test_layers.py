"""The layers of docs/architecture.md, read off the import statements."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lib" / "argosy"

# Each module may import from its own layer and those below.
LAYERS: list[set[str]] = [
    {"errors", "gce_defaults", "defaults", "model", "order", "secret", "maintenance"},
    {"gce_settings", "setting_types"},
    {"service_settings"},
    {"scheduled_settings", "sections"},
    {"scheduled_rules"},
    {"settings"},
    {"builtin_services", "dns"},
    {"config"},
    # Pure: they decide and render. No Fabric, no socket, no clock, no randomness.
    PURE := {
        "versions",
        "release",
        "install_progress",
        "service_unit",
        "container_labels",
        "systemd",
        "cloudconfig",
        "dialects",
        "machine_files",
        "machine_changes",
        "machine_units",
        "quoting",
        "certificates",
        "cluster_status",
        "membership",
        "machine_goodbye",
        "machine_etcd",
        "rollout",
        "events",
        "rollout_events",
        "rollout_plan",
        "rollout_record",
        "rollout_scripts",
        "service_update",
        "update_record",
        "update_plan",
        "update_gates",
        "update_events",
        "update_scripts",
        "secret_transfer",
        "secret_uses",
        "rotation",
        "certificate_report",
        "balancer",
        "schema",
        "routing",
        "routing_claims",
        "routing_plan",
        "routing_changes",
        "router_config",
        "rendering",
        "units",
        "content",
        "addressing",
        "local_names",
        "local_settings",
        "remote_shell",
        "build_plan",
        "build_log",
        "service_changes",
        "discovery_report",
        "discovery_changes",
        "machine_facts",
        "verification",
        "gce",
        "scheduled_record",
        "scheduled_state",
        "scheduled_actions",
        "scheduled_watch",
        "scheduled_victims",
        "swarm_spec",
        "scheduling",
        "scheduled_report",
        "swarm_model",
        "scheduled_verification",
        "fleet",
        "swarm_drain",
        "swarm_plan",
        "swarm_report",
        "swarm_seen",
    },
    {"atomic", "console"},
    {"rollout_view"},
    {
        "host",
        "ssh",
        "fanout",
        "known_hosts",
        "host_files",
        "engine",
        "engine_connection",
        "engine_api",
        "swarm",
        "engine_images",
        "agent_package",
        "build_context",
        "content_memo",
        "wheelhouse",
        "etcd",
        "registry",
        "registry_auth",
        "pki",
        "ssh_keypair",
        "inventory",
        "gce_record",
        "providers",
        "compute",
    },
    {"agent"},
    {"operations"},
    {"tasking"},
    {"task_reference"},
    {"tasks"},
]
# What decides within the agent; the rest of it acts.
AGENT_PURE = {"holdings", "inspection", "labels", "news", "registrations", "roster", "verdicts"}
IMPURE_IMPORTS = {
    "fabric",
    "paramiko",
    "socket",
    "time",
    "random",
    "secrets",
    "uuid",
    "httpx",
    "docker",
    "etcd3",
    "subprocess",
}
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


def modules() -> list[Path]:
    own = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    own = [path for path in own if path.relative_to(PACKAGE).parts[0] not in ("tasks", "templates", "data")]
    return [*own, *(ROOT / "fabfile").glob("*.py")]


def part_of(path: Path) -> str:
    """Return the name in LAYERS that the file belongs to."""
    if path.parent == ROOT / "fabfile":
        return "tasks"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its layer"
            yield node.module or ""
            if node.module == "argosy":
                yield from (f"argosy.{alias.name}" for alias in node.names)


def layer_of(part: str) -> int:
    for number, names in enumerate(LAYERS):
        if part in names:
            return number
    pytest.fail(f"module {part!r} stands in no layer: add it to LAYERS")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    own = layer_of(part_of(path))
    for name in imports(path):
        words = name.split(".")
        if words[0] == "fabfile":
            pytest.fail(f"{path} imports fabfile; its name is argosy.tasks")
        if words[0] == "argosy" and len(words) > 1:
            assert layer_of(words[1]) <= own, f"{path} imports {name}, which stands above it"


@pytest.mark.parametrize("part", sorted(PURE))
def test_pure_modules_touch_nothing_outside(part: str) -> None:
    for path in (PACKAGE / f"{part}.py", *(PACKAGE / part).rglob("*.py")):
        if path.exists():
            assert not {name.split(".")[0] for name in imports(path)} & IMPURE_IMPORTS


@pytest.mark.parametrize("part", sorted(AGENT_PURE))
def test_what_decides_within_the_agent_is_pure(part: str) -> None:
    found = list(imports(PACKAGE / "agent" / f"{part}.py"))
    assert not {name.split(".")[0] for name in found} & (IMPURE_IMPORTS | {"threading"})
    agent = {name.split(".")[2] for name in found if name.startswith("argosy.agent.")}
    assert agent <= AGENT_PURE


def test_fabric_is_imported_by_the_host_module_alone() -> None:
    users = {part_of(path) for path in modules() if {name.split(".")[0] for name in imports(path)} & {"fabric"}}
    assert users == {"host"}


def test_asking_a_running_agent_imports_the_standard_library_alone() -> None:
    # With no agent there it ends at once, after its imports.
    program = f"""if True:
        import sys
        from argosy.agent.__main__ import main
        main(["health", "--socket", "/nowhere"])
        print([name for name in {(*HEAVY_IMPORTS, "invoke", "tenacity")} if name in sys.modules])
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
