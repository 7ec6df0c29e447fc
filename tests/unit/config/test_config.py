from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from raised import raises

import argosy.tasking  # noqa: F401 (it stands before Invoke's reading of the environment)
from argosy.config.builtin import AGENT, DNS, ROUTER
from argosy.config.containers import CheckSettings
from argosy.config.defaults import DEFAULTS
from argosy.config.loading import Settings, load
from argosy.errors import ConfigError
from argosy.model import Machine

IMAGES = {"web": {"context": "web"}}
BASE = {"context": "a"}


def section(**keys: Any) -> dict[str, Any]:
    return {"clusters": {"here": keys}}


def refused(config: dict[str, Any], cluster: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        load(config, cluster)
    assert caught.value.code == 10
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_default_is_a_valid_setting() -> None:
    settings = load(section())
    for key in DEFAULTS.keys() - {"clusters", "cluster"}:
        value = getattr(settings, key)
        assert (value.model_dump() if hasattr(value, "model_dump") else value) is not None
    assert settings.system == DEFAULTS["system"]


def test_the_model_and_the_defaults_have_the_same_keys() -> None:
    assert set(Settings.model_fields) - {"root"} == set(DEFAULTS) - {"clusters"}


def test_a_cluster_section_overrides_what_stands_above_it_and_keeps_the_rest() -> None:
    settings = load({"ssh": {"user": "ops", "port": 2222}, "clusters": {"here": {"ssh": {"user": "root"}}}})
    assert (settings.ssh.user, settings.ssh.port) == ("root", 2222)


def test_a_cluster_named_on_the_command_line_beats_the_configured_one() -> None:
    config = {"cluster": "a", "clusters": {"a": {"system": "one"}, "b": {"system": "two"}}}
    assert load(config).system == "one"
    assert load(config, "b").system == "two"


def test_invoke_s_own_keys_and_the_user_s_x_keys_are_left_alone() -> None:
    assert load({"run": {"echo": True}, "x-mine": 1, "clusters": {"here": {"x-note": "me"}}}).cluster == "here"


def test_the_path_of_the_registry_s_address_is_where_the_images_lie() -> None:
    for given, place in {
        ("10.0.0.5:5000", ""): ("10.0.0.5:5000", ""),
        ("ghcr.io/team/app", ""): ("ghcr.io", "team/app"),
        ("ghcr.io/team", "app"): ("ghcr.io", "team/app"),
        ("ghcr.io", "team/app"): ("ghcr.io", "team/app"),
        ("[2001:db8::5]:5000/team", ""): ("[2001:db8::5]:5000", "team"),
    }.items():
        registry = load(section(registry=dict(zip(("address", "repository"), given, strict=True)))).registry
        assert (registry.address, registry.repository) == place


def test_invoke_cluster_in_the_environment_picks_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_CLUSTER", "b")
    config = Config(overrides={"clusters": {"a": {}, "b": {}}})
    config.load_collection(DEFAULTS)
    config.load_shell_env()
    assert load(config).cluster == "b"


def in_environment(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], **variables: str) -> Config:
    """Return the configuration as Invoke gives it to a task, with these variables set."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = Config(overrides=config)
    found.load_collection(DEFAULTS)
    found.load_shell_env()
    return found


def test_the_environment_beats_the_cluster_s_section(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"ssh": {"port": 1}, "clusters": {"here": {"ssh": {"user": "root", "port": 2}, "system": "sea"}}}
    found = load(in_environment(monkeypatch, config, INVOKE_SSH_USER="ops", INVOKE_DISCOVERY_ENABLED="0"))
    assert (found.ssh.user, found.ssh.port, found.system, found.discovery.enabled) == ("ops", 2, "sea", False)
    found = load(in_environment(monkeypatch, config, INVOKE_CLUSTERS_HERE_SSH_USER="core"))
    assert (found.ssh.user, found.ssh.port) == ("core", 2)


def test_a_bad_value_of_the_environment_is_not_the_section_s(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"clusters": {"here": {"ssh": {"port": 2}}}}
    with raises(ConfigError, path="ssh.port"):
        load(in_environment(monkeypatch, config, INVOKE_SSH_PORT="99999"))


def test_variables_that_nobody_sets_may_be_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"HTTP_PROXY": "a", "http_proxy": "b"}
    config = section(images=IMAGES, services={"web": {"image": "web", "env": env}})
    assert load(in_environment(monkeypatch, config)).services["web"].env == env
    with raises(ConfigError, "HTTP_PROXY", "http_proxy", path="INVOKE_CLUSTERS_HERE_SERVICES_WEB_ENV_HTTP_PROXY"):
        in_environment(monkeypatch, config, INVOKE_CLUSTERS_HERE_SERVICES_WEB_ENV_HTTP_PROXY="c")


@pytest.mark.parametrize(("variable", "value"), [("INVOKE_ROLLOUT_WINDOWS", "always"), ("INVOKE_SSH_PORT", "many")])
def test_what_a_variable_can_t_be_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    with raises(ConfigError, path=variable):
        in_environment(monkeypatch, section(), **{variable: value})


def test_a_name_that_differs_by_case_alone_is_refused_by_name() -> None:
    for place in ("services", "scheduled"):
        config = section(images=IMAGES, **{place: {"web": {"image": "web"}, "Web": {"image": "web"}}})
        with raises(ConfigError, "'Web'", "lower-case", path=f"clusters.here.{place}.Web"):
            load(config)


def test_argosy_s_own_images_are_there_by_themselves_and_yours_win() -> None:
    own = {"context": "mine"}
    images = load(section(images={"registry": own})).images
    assert {"python", "etcd", "haproxy", "dnsmasq", "agent", "registry", "machine"} <= images.keys()
    assert (images["registry"].context, images["registry"].on_demand) == ("mine", False)
    assert {name for name, image in images.items() if image.on_demand} == {"machine"}
    off = load(section(discovery={"enabled": False})).images
    assert all(image.on_demand for image in off.values())


@pytest.mark.parametrize(
    ("config", "path", "hint"),
    [
        ({"regstry": {}, "clusters": {"here": {}}}, "regstry:", "'registry'"),
        ({"ssh": {"prt": 1}, "clusters": {"here": {}}}, "ssh.prt:", "'port'"),
        (section(ssh={"usr": "x"}), "clusters.here.ssh.usr:", "'user'"),
        (section(sssh={}), "clusters.here.sssh:", "'ssh'"),
        (section(local={"balancer": {"prot": 1}}), "clusters.here.local.balancer.prot:", "'port'"),
        (
            section(images=IMAGES, services={"w": {"image": "web", "chek": {}}}),
            "clusters.here.services.w.chek:",
            "'check'",
        ),
        (section(images=IMAGES, services={"w": {"image": "wbe"}}), "services.w.image:", "'web'"),
        (
            section(images=IMAGES, services={"web": {"image": "web"}, "b": {"image": "web", "requires": ["wb"]}}),
            "services.b.requires:",
            "'web'",
        ),
        (section(images={"a": {"context": "a", "needs": {"B": "aa"}}}), "images.a.needs:", "'a'"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_key(
    config: dict[str, Any], path: str, hint: str
) -> None:
    message = refused(config)
    assert message.startswith(path)
    assert hint in message


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (section(ssh={"port": 0}), "clusters.here.ssh.port"),
        (section(ssh={"port": "many"}), "clusters.here.ssh.port"),
        (section(machines={"m": {"address": "10.0.0.256"}}), "clusters.here.machines.m.address"),
        (
            section(machines={"a": {"address": "10.0.0.1"}, "b": {"address": "10.0.0.1"}}),
            "machines.b.address",
        ),
        (section(machines={"a": {"address": "10.0.0.1", "ssh": {"port": 0}}}), "clusters.here.machines.a.ssh.port"),
        (section(machines={"a": {"address": "10.0.0.1", "ssh": {"host": "-oProxy"}}}), "clusters.here.machines.a.ssh"),
        (section(machines={"a": {"address": "10.0.0.1", "ssh": {"prot": 1}}}), "clusters.here.machines.a.ssh.prot"),
        (
            section(
                machines={
                    "a": {"address": "10.0.0.1", "ssh": {"host": "gate"}},
                    "b": {"address": "10.0.0.2", "ssh": {"host": "gate", "port": 22}},
                }
            ),
            "machines.b.ssh",
        ),
        (section(registry={"address": "nowhere/team"}), "clusters.here.registry.address"),
        (section(registry={"address": "ghcr.io/Team"}), "clusters.here.registry.address"),
        (section(registry={"address": "ghcr.io/team", "repository": "/x"}), "clusters.here.registry.repository"),
        (section(registry={"user": "a:b"}), "clusters.here.registry.user"),
        (section(registries={"ghcr": {"user": "me"}}), "clusters.here.registries.ghcr"),
        (section(registries={"ghcr.io": {}}), "registries.ghcr.io.user"),
        (
            section(registries={"ghcr.io": {"user": "me", "password": {"generate_bytes": 8}}}),
            "clusters.here.registries.ghcr.io.password.generate_bytes",
        ),
        (section(registries={"ghcr.io": {"user": "me", "token": "x"}}), "clusters.here.registries.ghcr.io.token"),
        (
            section(registry={"address": "ghcr.io/team"}, registries={"ghcr.io": {"user": "me"}}),
            "registries.ghcr.io",
        ),
        (section(registry={"address": "nowhere"}), "clusters.here.registry.address"),
        (section(registry={"password": {"file": "a", "command": ["b"]}}), "clusters.here.registry.password"),
        (section(local={"subnet": "192.168.55.0/29"}), "clusters.here.local.subnet"),
        (section(docker={"bip": "172.17.42.1"}), "clusters.here.docker.bip"),
        (section(etcd={"max_members": 9}), "clusters.here.etcd.max_members"),
        (section(system="No Spaces"), "clusters.here.system"),
        (
            section(images=IMAGES, services={"w": {"image": "web", "check": {}}}),
            "clusters.here.services.w.check",
        ),
        (
            section(images=IMAGES, services={"w": {"image": "web", "env": {"A": "b\nc"}}}),
            "clusters.here.services.w.env.A",
        ),
        (
            section(images=IMAGES, services={"w": {"image": "web", "network": "host", "ports": ["1:1"]}}),
            "clusters.here.services.w",
        ),
        (section(images=IMAGES, services={"Web": {"image": "web"}}), "clusters.here.services.Web"),
        (section(build={"builder": "kaniko"}), "clusters.here.build.builder"),
        (section(images={"a": {"context": "a", "platforms": ["arm64"]}}), "clusters.here.images.a.platforms"),
        (section(images={"a": {"context": "a", "args": {"A B": "x"}}}), "clusters.here.images.a.args"),
        (
            section(images={"b": BASE, "a": {**BASE, "needs": {"B": "b"}, "args": {"B": "x"}}}),
            "clusters.here.images.a.args.B",
        ),
        (section(images={"a": {**BASE, "secrets": {"k": {}}}}), "clusters.here.images.a.secrets.k"),
        (
            section(images={"a": {**BASE, "secrets": {"k": {"file": "f", "generate_bytes": 1}}}}),
            "clusters.here.images.a.secrets.k",
        ),
        ({"clusters": []}, "clusters"),
        ({"clusters": {"here": "text"}}, "clusters.here"),
        ({"clusters": {"here": {"clusters": {}}}}, "clusters.here.clusters"),
        ({"clusters": {"Not Here": {}}}, "clusters.Not Here"),
    ],
)
def test_a_bad_value_is_refused_with_its_path(config: dict[str, Any], path: str) -> None:
    assert refused(config).startswith(f"{path}")


def test_an_unknown_cluster_names_the_known_ones() -> None:
    message = refused({"clusters": {"production": {}, "staging": {}}}, "prodution")
    assert "'prodution'" in message
    assert "did you mean 'production'" in message
    assert "production, staging" in message


def test_several_clusters_and_no_choice_is_refused() -> None:
    assert "INVOKE_CLUSTER" in refused({"clusters": {"a": {}, "b": {}}})
    assert "none is defined" in refused({})


def test_relative_folders_start_at_the_root(tmp_path: Path) -> None:
    settings = load(section(), root=tmp_path)
    assert settings.state_path == tmp_path / ".argosy" / "here"
    assert settings.secrets_path == tmp_path / "secrets" / "here"


def test_a_line_under_machines_says_how_one_of_them_is_reached() -> None:
    own = {"host": "gate.example.com", "port": 2201, "user": "ops"}
    machines = {"air-01": {"address": "10.0.0.1", "ssh": own}, "air-02": {"address": "10.0.0.2", "ssh": {"port": 2202}}}
    settings = load(section(machines=machines, ssh={"entry_node": "bastion"}))

    def reached(machine: Machine) -> tuple[str, int, str]:
        target = settings.ssh_of(machine)
        assert target.entry_node == "core@bastion", "whatever the machine's own user"
        return target.host, target.port, target.user

    assert reached(Machine("air-01", "10.0.0.1")) == ("gate.example.com", 2201, "ops")
    assert reached(Machine("10.0.0.1", "10.0.0.1")) == ("gate.example.com", 2201, "ops"), "before its name is known"
    assert reached(Machine("air-02", "10.0.0.2")) == ("10.0.0.2", 2202, settings.ssh.user)
    assert reached(Machine("air-03", "10.0.0.3")) == ("10.0.0.3", settings.ssh.port, settings.ssh.user)


def test_settings_are_frozen() -> None:
    settings = load(section())
    with pytest.raises(ValueError, match="frozen"):
        settings.system = "other"  # type: ignore[misc]


def test_the_checks_of_the_built_in_services_take_as_long_as_the_settings_say() -> None:
    def checks(**given: float) -> list[CheckSettings]:
        services = load(section(discovery={"checks": given})).services
        return [check for name in (ROUTER, AGENT, DNS) if (check := services[name].check)]

    def limits(**given: float) -> list[tuple[float, float]]:
        return [(check.deadline_seconds, check.timeout_seconds) for check in checks(**given)]

    assert limits() == [(60, 5)] * 3
    assert limits(timeout_seconds=30) == [(60, 30)] * 3
    assert limits(deadline_seconds=600, timeout_seconds=45) == [(600, 45)] * 3
    # The agent's own program waits as long, and no longer.
    assert checks(timeout_seconds=45)[1].command[-2:] == ["--seconds", "45"]
    assert "clusters.here.discovery.checks.timeout_seconds" in refused(
        section(discovery={"checks": {"timeout_seconds": 0}})
    )


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"ssh": {"port": True}}, "ssh.port"),
        ({"rollout": {"soak_seconds": False}}, "rollout.soak_seconds"),
        ({"rollout": {"soak_seconds": float("inf")}}, "rollout.soak_seconds"),
    ],
)
def test_true_and_infinity_are_no_numbers(given: dict[str, Any], path: str) -> None:
    with raises(ConfigError, path=path):
        load({"clusters": {"test": {}}, **given})


@pytest.mark.parametrize(
    ("clusters", "path"), [({1: {}}, "clusters.1"), ({1: {}, "a": {}}, "clusters.1"), ({"a": {2: 3}}, "clusters.a.2")]
)
def test_keys_that_yaml_takes_for_numbers_are_told(clusters: dict[Any, Any], path: str) -> None:
    with raises(ConfigError, path=path):
        load(Config(overrides={"clusters": clusters}))
