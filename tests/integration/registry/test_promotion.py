"""Promotion between real registries, or inside one: the very digests, and another cluster's settings."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import yaml
from image_project import ROOT, Project, emptied, registry_project
from raised import raises

from argosy.builds import images as image_builds
from argosy.builds import installer
from argosy.config.loading import Settings
from argosy.engine.connection import connect
from argosy.errors import ConfigError, Refused
from argosy.images.store import untag
from argosy.images.versions import Version
from argosy.pki import authority
from argosy.registry import access, contents, push
from argosy.registry.client import Registry
from argosy.releases import comparing, listing, promotion
from argosy.rollouts.run import release_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with registry_project(tmp_path_factory.mktemp("promotion"), "promotion") as project:
        yield project


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Another registry, of another system's: its CA is its own, too."""
    with registry_project(tmp_path_factory.mktemp("elsewhere"), "elsewhere") as project:
        yield project


def copied(done: promotion.Promoted) -> list[str]:
    return list(done.to_json()["copied"])


@dataclass
class Place:
    """Staging has released `web` 0.1.0. `production`: has its own settings, and nothing yet."""

    project: Project
    staging: Settings

    def of(self, cluster: str, **section: object) -> Settings:
        return self.project.of(cluster, services={"web": {"env": {"STAGE": cluster}}}, **section)

    def release(self, content: str) -> str:
        self.project.write("web", data=content)
        image_builds.build_images(self.staging, self.project.report, ["web"])
        built = installer.build_installer(self.staging, self.project.report)
        push.push(self.staging, self.project.report)
        return built.version

    def promote(self, target: Settings, version: str) -> promotion.Promoted:
        return promotion.promote(promotion.plan(target, self.staging, version), self.project.report)

    def forget_images(self) -> None:
        """No service's image is on this host any more: what is promoted can't be built or pushed from here."""
        with connect() as client:
            for tag in self.project.tags():
                if tag.startswith("web:"):
                    untag(client, f"{self.project.system}/{tag}")


@pytest.fixture
def place(running: Project) -> Iterator[Place]:
    with emptied(running) as project:
        project.write("installer", "FROM scratch\nCOPY release /release\n")
        project.write("web", data="one")
        project.options["services"] = {"web": {"image": "web"}}
        made = Place(project, project.of("staging", services={"web": {"env": {"STAGE": "staging"}}}))
        made.release("one")
        yield made


def web(settings: Settings, version: str) -> str:
    (pin,) = access.pinned_images(settings, version)
    return pin.digest


def raw(settings: Settings, repository: str, digest: str) -> bytes:
    with access.opened(settings) as registry:
        manifest = registry.manifest(repository, digest)
    assert manifest is not None
    return manifest.content


class TestInOneRegistry:
    def test_the_digests_stay_and_the_settings_are_the_target_s(self, place: Place) -> None:
        production = place.of("production")
        place.forget_images()
        done = place.promote(production, "0.1.0")
        assert (done.built.version, done.promotion.copies) == ("0.1.0", ())
        assert web(production, "0.1.0") == web(place.staging, "0.1.0")
        row = listing.release(production, "", place.project.report)
        assert (row.stored.promoted, row.stored.cluster) == ("staging 0.1.0", "production")
        found = comparing.compare(production, "0.1.0", "0.1.0", place.staging)
        assert found.images == ()
        assert '-  "cluster": "staging",' in found.diff
        assert '+  "cluster": "production",' in found.diff
        assert any(line.startswith("+") and "STAGE=production" in line for line in found.diff)

    def test_a_second_time_makes_nothing_new(self, place: Place) -> None:
        production = place.of("production")
        place.promote(production, "0.1.0")
        done = place.promote(production, "0.1.0")
        assert not done.built.is_new
        assert not done.promotion.changes

    def test_into_repositories_of_its_own_nothing_is_sent_twice(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Blobs are mounted, not uploaded."""
        uploads: list[str] = []
        monkeypatch.setattr(Registry, "upload", lambda _self, where, *_: uploads.append(where))
        own = place.of("own", registry={"repository": "team/own"})
        done = place.promote(own, "0.1.0")
        assert (copied(done), uploads) == (["web"], [])
        (pin,) = access.pinned_images(own, "0.1.0")
        assert (pin.repository, pin.digest) == ("team/own/web", web(place.staging, "0.1.0"))
        assert release_of(own).image.startswith(f"{own.registry.address}/team/own/installer/own@")

    def test_the_plan_is_what_is_done_and_changes_nothing(self, place: Place) -> None:
        own = place.of("own", registry={"repository": "team/plan"})
        planned = promotion.plan(own, place.staging, "0.1.0")
        digest = web(place.staging, "0.1.0")
        assert [str(step) for step in planned.steps()] == [
            f"web: copy 0.1.0 ({digest[:19]}) to {own.registry.address}",
            "release: make a release of own of staging 0.1.0, with web 0.1.0, and push it",
        ]
        assert contents.list_images(own, place.project.report) == []

    def test_what_it_can_t_be_is_refused(self, place: Place) -> None:
        with raises(ConfigError, "this cluster", path="from"):
            promotion.plan(place.staging, place.staging, "0.1.0")
        with pytest.raises(Refused, match=r"does not have release 0.1.9 of the cluster staging"):
            promotion.plan(place.of("production"), place.staging, "0.1.9")
        with pytest.raises(Refused, match=r"which release the cluster staging runs can't be told"):
            promotion.plan(place.of("production"), place.staging)
        place.project.images["jobs"] = {"context": "web"}
        more = place.project.of("more", services={"web": {}, "jobs": {"image": "jobs"}})
        with pytest.raises(Refused, match=r"release 0.1.0 of staging does not pin jobs, which more runs"):
            promotion.plan(more, place.staging, "0.1.0")

    def test_an_older_one_is_promoted_as_a_new_release(self, place: Place) -> None:
        production = place.of("production")
        assert place.release("two") == "0.1.1"
        assert place.promote(production, "0.1.1").built.version == "0.1.0"
        planned = promotion.plan(production, place.staging, "0.1.0")
        (change,) = planned.changes.images
        assert (change.before and change.before.version, change.after and change.after.version) == ("0.1.1", "0.1.0")
        assert promotion.promote(planned, place.project.report).built.version == "0.1.1"
        assert web(production, "0.1.1") == web(place.staging, "0.1.0")
        rows = listing.releases(production, place.project.report)
        assert [(str(row.stored.version), row.stored.promoted, row.wanted, row.machines) for row in rows] == [
            ("0.1.1", "staging 0.1.0", False, []),
            ("0.1.0", "staging 0.1.1", False, []),
        ]
        assert all(row.stored.created.startswith("20") for row in rows)


class TestAsAUserTypesIt:
    def test_staging_s_release_is_not_production_s_until_it_is_promoted(self, place: Place) -> None:
        project = place.project
        project.of("production")  # its secrets
        project.write("etcd", data="etcd")
        (project.root / "tasks.py").write_text("from argosy import ns\n\nnamespace = ns\n")
        sections = {name: {"services": {"web": {"env": {"STAGE": name}}}} for name in ("staging", "production")}
        (project.root / "invoke.yaml").write_text(yaml.safe_dump({**project.document, "clusters": sections}))

        assert self.inv(place, "staging", "build.installer", "registry.push").returncode == 0
        pushed = self.inv(place, "production", "registry.push")
        assert pushed.returncode == 0
        assert "not pushed: releases of staging (to have one: inv release.promote)" in pushed.stderr
        refused = self.inv(place, "production", "release.show")
        assert refused.returncode == 11
        assert "staging has one: inv release.promote --from staging" in refused.stderr
        refused = self.inv(place, "production", "release.show", "0.1.0")
        assert refused.returncode == 11
        assert "staging has one: inv release.promote --from staging --release 0.1.0" in refused.stderr

        words = ["release.promote", "--from", "staging", "--release", "0.1.0"]
        planned = json.loads(self.inv(place, "production", *words, "--dry-run", "--json").stdout)
        assert [step["subject"] for step in planned] == ["release"]
        done = json.loads(self.inv(place, "production", *words, "--json").stdout)
        assert (done["cluster"], done["version"], done["is_new"]) == ("production", "0.1.0", True)
        assert done["promoted_from"] == {"cluster": "staging", "version": "0.1.0"}
        (row,) = json.loads(self.inv(place, "production", "release.list", "--json").stdout)
        assert (row["version"], row["promoted_from"], row["wanted"]) == ("0.1.0", done["promoted_from"], False)
        assert row["images"] == done["images"]
        assert "staging 0.1.0" in self.inv(place, "production", "release.show", "0.1.0").stdout
        shown = self.inv(place, "production", "release.diff", "0.1.0", "--from", "staging").stdout
        assert '+  "cluster": "production",' in shown

    def inv(self, place: Place, cluster: str, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "INVOKE_CLUSTER": cluster}
        argv = [sys.executable, "-m", "invoke", *words]
        where = place.project.root
        return subprocess.run(argv, cwd=where, env=environment, capture_output=True, text=True, check=False)


class TestBetweenRegistries:
    @pytest.fixture
    def far(self, place: Place, elsewhere: Project) -> Iterator[Settings]:
        """Production's settings, whose registry is the other one, with its own CA and password."""
        with emptied(elsewhere):
            own, theirs = place.project.of("far").secrets_path, elsewhere.settings.secrets_path
            for path in ("pki/ca.crt", "registry.password"):
                (own / path).write_bytes((theirs / path).read_bytes())
            yield place.of("far", registry={"address": elsewhere.settings.registry.address})
        with access.opened(elsewhere.settings) as registry:
            for where in registry.repositories(f"{place.project.system}/") or ():
                for tag in registry.tags(where):
                    registry.delete(where, registry.digest(where, tag))

    def test_all_is_copied_byte_for_byte(self, place: Place, far: Settings) -> None:
        place.forget_images()
        done = place.promote(far, "0.1.0")
        assert copied(done) == ["web"]
        digest, where = web(place.staging, "0.1.0"), f"{place.project.system}/web"
        assert web(far, "0.1.0") == digest
        assert raw(far, where, digest) == raw(place.staging, where, digest)
        for blob in json.loads(raw(far, where, digest))["layers"]:
            assert self.status(far, where, blob["digest"]) == 200
        assert release_of(far).image.startswith(f"{far.registry.address}/")
        assert copied(place.promote(far, "0.1.0")) == []

    def test_another_image_of_the_version_keeps_its_tag(self, place: Place, far: Settings) -> None:
        place.promote(far, "0.1.0")
        with access.opened(far) as registry:
            other = registry.manifest(f"{place.project.system}/installer/far", "0.1.0")
            assert other is not None
        two = place.release("two")
        where = f"{place.project.system}/web"
        with access.opened(far) as registry:
            taken = registry.manifest(where, "0.1.0")
            assert taken is not None
            registry.put_manifest(where, "0.1.1", taken)
            before = registry.digest(where, "0.1.1")
        done = place.promote(far, two)
        assert copied(done) == ["web"]
        digest = web(far, done.built.version)
        assert digest == web(place.staging, two) != before
        with access.opened(far) as registry:
            assert registry.digest(where, "0.1.1") == before
            assert registry.digest(where, f"0.1.1-{digest[7:19]}") == digest
            assert access.versions_in(registry, far, "web") == [Version(0, 1, 0), Version(0, 1, 1)]
        rows = [
            (row.name, row.version, row.digest)
            for row in contents.list_images(far, place.project.report)
            if row.name == "web"
        ]
        assert ("web", "0.1.1", digest) in rows
        assert ("web", "0.1.1", before) in rows

    def status(self, settings: Settings, where: str, digest: str) -> int:
        ca = authority.authority_path(settings.secrets_path)
        url = f"https://{settings.registry.address}/v2/{where}/blobs/{digest}"
        login = settings.registry.user, access.password(settings)
        return httpx.head(url, auth=login, verify=ssl.create_default_context(cafile=ca)).status_code
