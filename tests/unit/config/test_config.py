from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config

from argosy.config import Settings, load
from argosy.defaults import DEFAULTS
from argosy.errors import ConfigError

IMAGES = {"web": {"context": "web"}}


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


def test_invoke_cluster_in_the_environment_picks_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_CLUSTER", "b")
    config = Config(overrides={"clusters": {"a": {}, "b": {}}})
    config.load_collection(DEFAULTS)
    config.load_shell_env()
    assert load(config).cluster == "b"


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
    assert str(settings.config_path) == "/etc/air"


def test_settings_are_frozen() -> None:
    settings = load(section())
    with pytest.raises(ValueError, match="frozen"):
        settings.system = "other"  # type: ignore[misc]
