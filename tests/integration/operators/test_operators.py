"""operator.add, join, list, remove: on a real etcd, and machines that are real sshds with a home of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from age_keys import new_identity
from etcd_cluster import EtcdCluster
from raised import raises
from ssh_server import SshServer, free_port, requires_namespaces, requires_sshd

from argosy import inventory
from argosy.cluster import operators
from argosy.cluster.opening import OpenCluster
from argosy.cluster.operator_record import OperatorRecord, Rights
from argosy.config.loading import Settings
from argosy.errors import ConfigError, EtcdError, HostKeyMismatch, HostsFailed, LoginRefused, Refused
from argosy.etcd import Etcd
from argosy.membership import adding as machines_adding
from argosy.operators import adding, joining, keys, listing, removing
from argosy.operators.bundle import Bundle, seal, unseal
from argosy.pki import authority
from argosy.releases.usage import usage
from argosy.secrets.value import Secret
from argosy.ssh import known_hosts
from argosy.ssh.host import Hosts
from argosy.tasking import hosts_of, machines_of

pytest_plugins = ["etcd_fixtures"]
pytestmark = [pytest.mark.integration, requires_sshd, requires_namespaces]

REGISTRY = "10.0.0.5:5000"
# A private copy of /etc as the sshd and its children see it, in which root's home is $0/home.
OWN_HOME = """
set -e
cp -a /etc "$0/etc"
sed -i "s|^\\(root:.*\\):/root:|\\1:$0/home:|" "$0/etc/passwd"
mount --bind "$0/etc" /etc
exec "$@"
"""


@pytest.fixture(scope="module")
def identity() -> Secret:
    """An identity of age: quicker than a passphrase."""
    return new_identity()


@pytest.fixture(scope="module")
def cluster_size() -> int:
    return 2


@pytest.fixture(scope="module")
def servers(cluster: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SshServer]]:
    """The machines' sshds. Who may log in stands in root's home, as on a machine."""
    port = free_port(cluster.machines[0].address)
    made: list[SshServer] = []
    with ExitStack() as stack:
        for machine in cluster.machines:
            folder = tmp_path_factory.mktemp(machine.name)
            wrapper = ["unshare", "--mount", "sh", "-c", OWN_HOME, str(folder)]
            server = SshServer(folder / "sshd", addresses=[machine.address], wrapper=wrapper, user="root", port=port)
            server.prepare()
            if made:
                for name in ("id_ed25519", "id_ed25519.pub", "authorized_keys"):
                    shutil.copy(made[0].folder / name, server.folder / name)
            home = folder / "home" / ".ssh"
            home.mkdir(parents=True)
            shutil.move(server.folder / "authorized_keys", home / "authorized_keys")
            (server.folder / "authorized_keys").symlink_to(home / "authorized_keys")
            server.start()
            stack.callback(server.stop)
            made.append(server)
        yield made


@dataclass
class Lab:
    """`settings`: of the checkout that set the cluster up; `root`: where further checkouts are."""

    cluster: EtcdCluster
    servers: list[SshServer]
    store: Etcd
    root: Path
    identity: Secret
    told: list[tuple[str, str]] = field(default_factory=list)

    def settings_in(self, folder: Path) -> Settings:
        """Return the settings of the checkout in `folder`; the founder's key is configured in all of them."""
        original, self.cluster.folder = self.cluster.folder, folder
        try:
            return self.cluster.settings(
                ssh={
                    "user": "root",
                    "port": self.servers[0].port,
                    "key": str(self.servers[0].key),
                    "connect_attempts": 1,
                    "connect_timeout_seconds": 5,
                },
                registry={"address": REGISTRY},
            )
        finally:
            self.cluster.folder = original

    @property
    def settings(self) -> Settings:
        return self.settings_in(self.cluster.folder)

    @property
    def homes(self) -> list[str]:
        return [f"{server.folder.parent}/home\n" for server in self.servers]

    def authorized(self, number: int) -> list[str]:
        return (self.servers[number].folder / "authorized_keys").read_text().splitlines()

    def add(self, name: str = "ci", rights: Rights = Rights.DEPLOY) -> Bundle:
        request = adding.Request(name, rights, self.root / f"{name}.age")
        added = adding.add(self.settings, request, self.seal, self.report)
        added.refuse_unreachable()
        return unseal(request.output.read_bytes(), self.identity, str(request.output))

    def join(self, bundle: Bundle) -> Settings:
        """Return the settings of a clean checkout that the operator has joined."""
        settings = self.settings_in(self.root / bundle.name)
        joining.join(settings, bundle)
        return settings

    def seal(self, bundle: Bundle) -> bytes:
        return seal(bundle, [], self.identity)

    def report(self, subject: str, text: str) -> None:
        self.told.append((subject, text))

    def record(self, name: str = "ci") -> OperatorRecord:
        found = operators.read_record(self.store, name)
        assert found is not None
        return found


@pytest.fixture
def lab(cluster: EtcdCluster, servers: list[SshServer], store: Etcd, tmp_path: Path, identity: Secret) -> Lab:
    made = Lab(cluster, servers, store, tmp_path, identity)
    settings = made.settings
    authority.ensure_operator_certificate(settings.secrets_path)
    shutil.rmtree(settings.secrets_path / "operators", ignore_errors=True)
    shutil.rmtree(settings.state_path, ignore_errors=True)
    (settings.secrets_path / "registry.password").write_text("pa55")
    inventory.save(settings, cluster.machines)
    for server in servers:
        if server.process is None:
            server.start()
        line = (servers[0].folder / "id_ed25519.pub").read_text()
        (server.folder / "authorized_keys").write_text(line)
        known_hosts.pin(
            settings.state_path / "known_hosts",
            server.addresses[0],
            server.port,
            (server.folder / "host_key.pub").read_text(),
        )
    for machine in cluster.machines:
        record = {"address": machine.address, "role": "member", "release": "0.1.3", "state": "active"}
        store.put(f"/machines/{machine.name}", json.dumps(record))
    return made


def test_who_was_added_logs_in_and_asks_etcd_by_keys_of_its_own(lab: Lab) -> None:
    settings = lab.join(lab.add())
    assert not (settings.secrets_path / "pki" / "ca.key").exists()
    with OpenCluster(settings) as cluster:
        assert set(operators.read_records(cluster.store)) == {"ci"}
        with cluster.locked("service.scale"):
            said = cluster.hosts.each(lambda host: host.run("echo $HOME").stdout)
            assert [outcome.get() for outcome in said.values()] == lab.homes
    assert lab.record().certificate == authority.operator_fingerprint(authority.operator_path(settings.secrets_path))
    assert listing.rows({"ci": lab.record()})[0][-1] == "operator"


def test_a_second_time_only_the_bundle_is_made_anew(lab: Lab) -> None:
    first = lab.add()
    record, allowed = lab.record(), lab.authorized(0)
    request = adding.Request("ci", Rights.DEPLOY, lab.root / "ci.age")
    planned = adding.plan(lab.settings, request, lab.report).planned
    assert [str(step) for step in planned.steps] == [f"here: write {request.output}"]
    assert lab.add() == first
    assert (lab.record(), lab.authorized(0)) == (record, allowed)
    assert len(allowed) == 2


def test_a_dry_run_makes_nothing(lab: Lab) -> None:
    request = adding.Request("ci", Rights.DEPLOY, lab.root / "ci.age")
    planned = adding.plan(lab.settings, request, lab.report).planned
    folder = keys.folder(lab.settings, "ci")
    assert [str(step) for step in planned.steps] == [
        f"here: make its keys in {folder}",
        "etcd: record the operator ci (deploy)",
        "air-01: let ci in by ssh",
        "air-02: let ci in by ssh",
        f"here: write {request.output}",
    ]
    assert not folder.exists()
    assert not request.output.exists()
    assert operators.read_records(lab.store) == {}


@pytest.mark.parametrize("step", range(5))
def test_killed_before_any_step_the_same_command_resumes(lab: Lab, step: int) -> None:
    request = adding.Request("ci", Rights.DEPLOY, lab.root / "ci.age")

    def dying() -> Callable[[str, str], None]:
        steps = iter(range(6))

        def report(_subject: str, _text: str) -> None:
            if next(steps) == step:
                raise KeyboardInterrupt

        return report

    with pytest.raises(KeyboardInterrupt):
        adding.add(lab.settings, request, lab.seal, dying())
    settings = lab.join(lab.add())
    with Hosts(settings, lab.cluster.machines) as hosts:
        assert all(outcome.ok for outcome in hosts.each(lambda host: host.connect()).values())
    assert [len(lab.authorized(number)) for number in (0, 1)] == [2, 2]


def test_a_machine_that_is_down_gets_the_key_later(lab: Lab) -> None:
    lab.servers[1].stop()
    with pytest.raises(HostsFailed) as failed:
        lab.add()
    assert list(failed.value.failures) == ["air-02"]
    assert (lab.root / "ci.age").exists()
    lab.servers[1].start()
    lab.add()
    assert len(lab.authorized(1)) == 2


class TestRights:
    @pytest.mark.parametrize("task", ["cluster.add-machine", "cluster.upload-secrets", "operator.remove"])
    def test_who_deploys_is_refused_before_the_lock(self, lab: Lab, task: str) -> None:
        settings = lab.join(lab.add())
        with OpenCluster(settings) as cluster, raises(Refused, "operator ci", "deploy", task), cluster.locked(task):
            raise AssertionError("locked")
        assert lab.store.get("/cluster/lock") is None

    def test_a_membership_change_is_refused_in_one_line(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        options = machines_adding.Options()
        before = lab.store.get_prefix("/").entries
        with raises(Refused, "operator ci has the rights deploy, and cluster.add-machine needs full"):
            machines_adding.add(settings, "air-01", "air-09=10.9.9.9", lab.report, options)
        assert lab.store.get_prefix("/").entries == before

    def test_who_has_full_rights_adds_others(self, lab: Lab) -> None:
        settings = lab.join(lab.add("ann", Rights.FULL))
        request = adding.Request("bob", Rights.DEPLOY, lab.root / "bob.age")
        adding.add(settings, request, lab.seal, lab.report).refuse_unreachable()
        assert set(operators.read_records(lab.store)) == {"ann", "bob"}
        with raises(Refused, "was added by", "from another checkout"):
            lab.add("bob")

    def test_the_key_of_one_who_is_removed_later_is_in_nobody_s_bundle(self, lab: Lab) -> None:
        ann = lab.add("ann", Rights.FULL)
        request = adding.Request("bob", Rights.FULL, lab.root / "bob.age")
        adding.add(lab.join(ann), request, lab.seal, lab.report)
        bob = unseal(request.output.read_bytes(), lab.identity, "bob.age")
        assert bob.authorized_keys == ann.authorized_keys
        assert len(bob.authorized_keys) == 1
        assert ann.ssh_public_key not in bob.authorized_keys

    def test_other_rights_need_a_removal_first(self, lab: Lab) -> None:
        lab.add()
        with raises(Refused, "inv operator.remove ci"):
            lab.add(rights=Rights.FULL)

    def test_who_has_no_ca_key_adds_nobody(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        request = adding.Request("bob", Rights.DEPLOY, lab.root / "bob.age")
        with raises(Refused, "ca.key"):
            adding.add(settings, request, lab.seal, lab.report)

    def test_a_record_that_cant_be_read_lets_nobody_pass(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        lab.store.put("/cluster/operators/ci", "{}")
        with OpenCluster(settings) as cluster, raises(Refused, "/cluster/operators/ci"):
            _ = cluster.store

    def test_a_folder_is_no_place_for_a_bundle(self, lab: Lab) -> None:
        (lab.root / "ci.age").mkdir()
        with raises(ConfigError, "a folder", path=str(lab.root / "ci.age")):
            lab.add()

    def test_where_the_bundle_cant_be_written_the_same_command_resumes(self, lab: Lab) -> None:
        (lab.root / "file").touch()
        request = adding.Request("ci", Rights.DEPLOY, lab.root / "file" / "ci.age")
        with raises(ConfigError, "can't be written", "--output", path=str(request.output)):
            adding.add(lab.settings, request, lab.seal, lab.report)
        assert lab.add().name == "ci"

    def test_a_file_that_is_no_bundle_is_not_replaced(self, lab: Lab) -> None:
        (lab.root / "ci.age").write_text("notes")
        with raises(Refused, "is no bundle"):
            lab.add()


class TestRemoving:
    def test_who_was_removed_does_nothing_more(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        removing.remove(lab.settings, "ci", lab.report).refuse_unreachable()
        with OpenCluster(settings) as cluster, raises(Refused, "operator ci was removed"):
            _ = cluster.store
        with Hosts(settings, lab.cluster.machines) as hosts:
            refused = hosts.each(lambda host: host.connect())
        assert {type(outcome.error) for outcome in refused.values()} == {LoginRefused}
        assert not keys.folder(lab.settings, "ci").exists()
        assert lab.record().left_on == ()
        assert [len(lab.authorized(number)) for number in (0, 1)] == [1, 1]

    def test_a_second_time_there_is_nothing_to_do(self, lab: Lab) -> None:
        lab.add()
        removing.remove(lab.settings, "ci", lab.report)
        assert removing.remove(lab.settings, "ci", lab.report).planned.steps == []

    def test_a_machine_that_is_down_is_done_at_the_next_run(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        lab.servers[1].stop()
        with pytest.raises(HostsFailed) as failed:
            removing.remove(lab.settings, "ci", lab.report).refuse_unreachable()
        assert list(failed.value.failures) == ["air-02"]
        assert lab.record().left_on == ("air-02",)
        assert listing.rows({"ci": lab.record()})[0][-1].endswith(", air-02 may let it in still")
        with OpenCluster(settings) as cluster, raises(Refused, "was removed"):
            _ = cluster.store
        with raises(Refused, "air-02 may let it in still"):
            lab.add()
        lab.servers[1].start()
        removing.remove(lab.settings, "ci", lab.report).refuse_unreachable()
        assert len(lab.authorized(1)) == 1

    def test_who_is_added_again_has_other_keys(self, lab: Lab) -> None:
        old = lab.add()
        removing.remove(lab.settings, "ci", lab.report)
        new = lab.add()
        assert new.ssh_public_key != old.ssh_public_key
        with OpenCluster(lab.join(new)) as cluster:
            assert set(operators.read_records(cluster.store)) == {"ci"}
        older = lab.settings_in(lab.root / "older")
        joining.join(older, old)
        with OpenCluster(older) as cluster, raises(Refused, "another certificate", "inv operator.join"):
            _ = cluster.store

    @pytest.mark.parametrize("step", range(5))
    def test_killed_before_any_step_the_same_command_resumes(self, lab: Lab, step: int) -> None:
        lab.add()
        steps = iter(range(9))

        def report(subject: str, text: str) -> None:
            lab.report(subject, text)
            if next(steps) == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            removing.remove(lab.settings, "ci", report)
        removing.remove(lab.settings, "ci", lab.report).refuse_unreachable()
        assert lab.record().removed is not None
        assert lab.record().left_on == ()
        assert [len(lab.authorized(number)) for number in (0, 1)] == [1, 1]

    def test_nobody_removes_themselves_or_somebody_unknown(self, lab: Lab) -> None:
        settings = lab.join(lab.add("ann", Rights.FULL))
        with raises(Refused, "ann is who asks"):
            removing.remove(settings, "ann", lab.report)
        with raises(ConfigError, "did you mean 'ann'?", path="anne"):
            removing.remove(settings, "anne", lab.report)


class TestLearning:
    """A checkout that knows one machine learns the others, and their host keys."""

    def test_what_a_change_has_reached_is_recorded(self, lab: Lab) -> None:
        lab.add()
        for number, machine in enumerate(lab.cluster.machines):
            entry = lab.store.get(f"/machines/{machine.name}")
            assert entry is not None
            type_, blob, *_ = (lab.servers[number].folder / "host_key.pub").read_text().split()
            record = json.loads(entry.value)
            assert (record["host_keys"], record["os"]) == ([f"{type_} {blob}"], "debian")
            assert record["release"] == "0.1.3"

    def test_others_are_learned_from_one(self, lab: Lab) -> None:
        bundle = lab.add()
        settings = lab.join(bundle)
        first = lab.cluster.machines[0]
        inventory.save(settings, [first])
        pins = settings.state_path / "known_hosts"
        known_hosts.forget(pins, lab.cluster.machines[1].address, settings.ssh.port)
        with OpenCluster(settings, lab.report) as cluster, cluster.locked("service.scale"):
            said = cluster.hosts.each(lambda host: host.run("echo $HOME").stdout)
        assert [outcome.get() for outcome in said.values()] == lab.homes
        assert inventory.load(settings) == lab.cluster.machines

    def test_a_host_key_that_is_not_pinned_is_learned(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        pins = settings.state_path / "known_hosts"
        pinned = known_hosts.read(pins)
        known_hosts.forget(pins, lab.cluster.machines[1].address, settings.ssh.port)
        with hosts_of(settings, ["air-02"]) as hosts:
            assert hosts["air-02"].run("echo $HOME").stdout == lab.homes[1]
        assert known_hosts.read(pins) == pinned

    def test_a_host_key_that_differs_is_not_replaced(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        pins, machine = settings.state_path / "known_hosts", lab.cluster.machines[1]
        other = (lab.servers[0].folder / "host_key.pub").read_text()
        known_hosts.pin(pins, machine.address, settings.ssh.port, other)
        with OpenCluster(settings) as cluster:
            _ = cluster.store
        with hosts_of(settings, ["air-02"]) as hosts, pytest.raises(HostKeyMismatch):
            hosts["air-02"].connect()

    def test_a_trusted_address_is_enough(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        shutil.rmtree(settings.state_path)
        with raises(ConfigError, "is known yet", path="machines"):
            machines_of(settings)
        known_hosts.pin(
            settings.state_path / "known_hosts",
            lab.cluster.machines[0].address,
            settings.ssh.port,
            (lab.servers[0].folder / "host_key.pub").read_text(),
        )
        assert machines_of(settings) == lab.cluster.machines
        assert machines_of(settings, ["air-02"]) == lab.cluster.machines[1:]

    def test_which_release_machines_have_is_asked_though_none_is_known(self, lab: Lab) -> None:
        settings = lab.join(lab.add())
        inventory.forget(settings, [machine.name for machine in lab.cluster.machines])
        assert usage(settings).machines == {"0.1.3": ("air-01", "air-02")}
        lab.cluster.kill("air-01")
        lab.cluster.kill("air-02")
        inventory.forget(settings, [machine.name for machine in lab.cluster.machines])
        try:
            with pytest.raises(EtcdError):
                usage(settings)
        finally:
            lab.cluster.start()
            lab.cluster.wait_until_healthy()

    def test_a_word_that_nobody_knows_is_refused(self, lab: Lab) -> None:
        with raises(ConfigError, "no such machine", path="air-9"):
            machines_of(lab.settings, ["air-9"])

    def test_a_silent_cluster_is_not_one_without_the_machine(self, lab: Lab) -> None:
        settings = lab.settings.model_copy(
            update={"etcd": lab.settings.etcd.model_copy(update={"client_port": free_port("127.0.8.1")})}
        )
        with raises(ConfigError, "no such machine", "the cluster can't be asked"):
            machines_of(settings, ["air-9"])
        with OpenCluster(settings, lab.report) as cluster:
            assert cluster.machines == lab.cluster.machines
            with pytest.raises(EtcdError):
                cluster.store.get("/x")
