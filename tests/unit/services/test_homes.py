"""Services stay with their volumes: where those are, what is recorded of it, and what would be lost with a machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from service_examples import BY, IMAGE, NOW, Cluster, cluster, definition, node, record

from argosy.config.loading import Settings, load
from argosy.errors import Refused
from argosy.services import actions
from argosy.services.evacuation.plan import plan_moves, registered_on, settling, staying
from argosy.services.homes import Kept, homes_left, labels_with, refuse_loss, spec_at_home, unsettled, volumes_on
from argosy.services.plan import Wanted, grows_anywhere, plan_scale, plan_start, plan_submit
from argosy.services.record import Generation, homes_text, parse_homes
from argosy.services.spec import at_home, render_spec
from argosy.services.state import ServicesState, ServiceState

VOLUMES = [{"source": "data", "target": "/data"}]
HOME = "node.labels.argosy.home.db == true"


def database(replicas: int | None = 1, **more: Any) -> Any:
    return record("db", replicas=replicas, **{"volumes": VOLUMES, **more})


def running(count: int = 1, homes: tuple[str, ...] = (), labelled: tuple[str, ...] = (), **more: Any) -> Cluster:
    """Return a database that runs on air-01, air-02, ... in turn."""
    made = cluster(database(count, **more)).runs("db", count=count)
    (service,) = made.services
    spec = {**service.spec, "TaskTemplate": {"ContainerSpec": {}, "Placement": {"Constraints": ["a == b"]}}}
    made.services = [replace(service, spec=at_home(spec, "db", definition(volumes=VOLUMES), homes))]
    made.nodes = [node(name, labels={"argosy.home.db": "true"} if name in labelled else {}) for name in made.machines]
    return made.at_home("db", *homes) if homes else made


def given_up() -> Cluster:
    """Return a database whose only home is gone for good, and whose constraint is not."""
    made = running(homes=("air-01",))
    made.tasks, made.keys = [], [entry for entry in made.keys if not entry.key.startswith("/cluster/homes/")]
    return made


def service(made: Cluster) -> ServiceState:
    return made.state().of("db")


# What keeps a service at home


@pytest.mark.parametrize(
    ("keys", "kept", "stays"),
    [
        ({"volumes": VOLUMES}, ["data"], True),
        ({"volumes": [{"source": "/srv/data", "target": "/data"}]}, [], False),
        ({"volumes": [{**VOLUMES[0], "read_only": True}]}, [], False),
        ({"volumes": VOLUMES, "global": True}, ["data"], False),
        ({}, [], False),
    ],
)
def test_a_named_volume_that_is_written_to_keeps_a_service_on_its_machine(
    keys: dict[str, Any], kept: list[str], stays: bool
) -> None:
    made = definition(**keys)
    assert made.kept_volumes == kept
    assert made.keeps_home is stays


def test_homes_are_a_json_object_and_what_is_none_is_told() -> None:
    assert homes_text(["air-02", "air-01"]) == '{"machines": ["air-01", "air-02"]}'
    assert parse_homes('{"machines": ["air-01"]}') == ("air-01",)
    for text in ("", "[]", "{}", '{"machines": "air-01"}', '{"machines": [1]}'):
        with pytest.raises(ValueError, match="no list of the machines that have its volumes"):
            parse_homes(text)
    broken = cluster(database()).key("/cluster/homes/db", "{}").state().of("db")
    assert broken.problem == "no list of the machines that have its volumes"


def test_instances_are_kept_by_a_constraint_and_none_takes_the_place_of_another() -> None:
    spec: dict[str, Any] = {"Mode": {"Replicated": {"Replicas": 3}}, "TaskTemplate": {"Placement": {}}}
    one = at_home(spec, "db", definition(volumes=VOLUMES), ["air-01"])
    assert one["TaskTemplate"]["Placement"] == {"Constraints": [HOME]}
    two = at_home(one, "db", definition(volumes=VOLUMES), ["air-01", "air-02"])
    assert two["TaskTemplate"]["Placement"] == {"Constraints": [HOME], "MaxReplicas": 2}
    own = at_home(two, "db", definition(volumes=VOLUMES, max_per_machine=1), ["air-01", "air-02"])
    assert own["TaskTemplate"]["Placement"] == {"Constraints": [HOME], "MaxReplicas": 1}
    assert at_home(two, "db", definition(volumes=VOLUMES), ())["TaskTemplate"]["Placement"] == {}


def test_a_generation_is_placed_at_home_from_its_first_moment_on() -> None:
    settings: Settings = load({"system": "air", "images": {"web": {"context": "web"}}, "clusters": {"one": {}}})
    made = Generation(2, definition(volumes=VOLUMES, constraints=["tier=green"]), IMAGE)
    anywhere, home = render_spec(settings, "db", made, 1), render_spec(settings, "db", made, 1, ("air-01",))
    assert anywhere["TaskTemplate"]["Placement"] == {"Constraints": ["node.labels.tier == green"]}
    assert home["TaskTemplate"]["Placement"] == {"Constraints": ["node.labels.tier == green", HOME]}
    other = Generation(3, definition(), IMAGE)
    assert render_spec(settings, "db", other, 1, ("air-01",)) == render_spec(settings, "db", other, 1)


# What is recorded, and put right


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (running(), ["db"]),  # of yesterday: it is where it runs, and nothing is recorded
        (running(homes=("air-01",), labelled=("air-01",)), []),
        (running(homes=("air-01",)), ["db"]),
        (running(homes=("air-01",), labelled=("air-01", "air-02")), ["db"]),
        (cluster(database()), []),
        (given_up(), ["db"]),
        (cluster(record("db")).runs("db"), []),
        (cluster(database(None)).runs("db", replicas=None), []),
    ],
)
def test_homes_that_are_not_kept_to_are_seen(made: Cluster, names: list[str]) -> None:
    state = made.state()
    assert list(unsettled(state)) == names
    assert settling(state, {}) == [f"keep {name} on the machines that have its volumes" for name in names]


def test_the_record_counts_and_not_where_it_runs() -> None:
    state = running(homes=("air-02",), labelled=("air-02",)).state()
    assert state.of("db").placed == ("air-01",)
    assert not state.of("db").stays_on("air-01")
    assert state.of("db").stays_on("air-02")
    (generation,) = state.of("db").generations.values()
    assert spec_at_home(state.of("db"), generation, ("air-02",)) is None
    lifted = spec_at_home(state.of("db"), generation, ())
    assert lifted is not None
    assert lifted["TaskTemplate"]["Placement"] == {"Constraints": ["a == b"]}


def test_only_the_label_of_the_service_is_changed_on_a_node() -> None:
    made = node("air-01", labels={"tier": "green", "argosy.home.db": "true"})
    assert labels_with(made, "db", []) == {"argosy.machine": "air-01", "tier": "green"}
    assert labels_with(made, "db", ["air-01"]) == dict(made.labels)
    assert labels_with(made, "web", ["air-01"]) == {**made.labels, "argosy.home.web": "true"}


# Plans


def submitted(state: ServicesState, **keys: Any) -> list[actions.Action]:
    wanted = Wanted("db", definition(volumes=VOLUMES, replicas=1, **keys), IMAGE)
    return list(plan_submit(state, wanted, NOW, BY).actions)


def test_a_service_is_placed_once_and_kept_there() -> None:
    assert submitted(cluster().state())[-1] == actions.KeepHome(("data",))
    (serving, kept) = submitted(running().state())
    assert isinstance(serving, actions.WaitUntilServing)
    assert kept == actions.KeepHome(("data",))
    assert kept.says() == "keep it on the machines where it runs, with its volumes there (data)"
    (only,) = submitted(running(homes=("air-01",), labelled=("air-01",)).state())
    assert isinstance(only, actions.WaitUntilServing)


def test_it_grows_anywhere_and_shrinks_where_it_is() -> None:
    state = running(2, homes=("air-01", "air-02"), labelled=("air-01", "air-02")).state()
    grown, shrunk = plan_scale(state, "db", 3).actions, plan_scale(state, "db", 1).actions
    assert actions.Scale(1, 3, ()) in grown
    assert actions.KeepHome(("data",)) in grown
    assert actions.Scale(1, 1, ("air-01", "air-02")) in shrunk
    assert actions.KeepHome(("data",)) in shrunk


@pytest.mark.parametrize(
    ("there", "homes", "count", "anywhere"),
    [
        (0, ("air-01",), 1, False),
        (0, ("air-01", "air-02"), 3, False),
        (1, ("air-01", "air-02"), 2, False),
        (1, ("air-01",), 2, True),
        (2, ("air-01", "air-02"), 1, False),
        (2, ("air-01", "air-02"), 2, False),
    ],
)
def test_only_what_is_more_than_its_homes_had_is_placed_anywhere(
    there: int, homes: tuple[str, ...], count: int, anywhere: bool
) -> None:
    assert grows_anywhere(service(running(there, homes=homes)), count) is anywhere


def test_who_was_killed_while_it_grew_keeps_it_where_it_runs_then() -> None:
    made = running(2, homes=("air-01",), labelled=("air-01",))
    (grown,) = made.services
    made.services = [replace(grown, spec=at_home(grown.spec, "db", definition(volumes=VOLUMES), ()))]
    again = plan_scale(made.state(), "db", 2).actions
    assert actions.KeepHome(("data",)) in again


def test_what_can_not_be_at_home_is_refused_in_one_line() -> None:
    gone = cluster(database(stopped=True)).at_home("db", "air-09")
    with pytest.raises(Refused) as refused:
        plan_start(gone.state(), "db")
    assert str(refused.value) == (
        "db: its volumes (data) are on air-09, which is gone or does not fit it; elsewhere they would be empty: "
        "inv service.destroy db gives them up"
    )
    elsewhere = cluster(database(stopped=True, constraints=["machine=air-02"])).at_home("db", "air-01")
    with pytest.raises(Refused, match="are on air-01, which is gone or does not fit machine=air-02; elsewhere"):
        plan_start(elsewhere.state(), "db")


# A machine is taken out of service


def test_an_instance_stays_with_its_volume_and_the_others_move() -> None:
    made = running().knows(record("web")).runs("web", count=2)
    state = made.state()
    assert staying(state, "air-01") == ["db"]
    assert staying(state, "air-02") == []
    assert [move.name for move in plan_moves(state, "air-01", ["db"])] == ["web"]
    assert list(registered_on(state, "air-01", ["db"])) == ["web"]
    assert [move.name for move in plan_moves(state, "air-01")] == ["db", "web"]
    assert staying(cluster(database(stopped=True)).at_home("db", "air-01").state(), "air-01") == []


# A machine goes


@pytest.mark.parametrize(
    ("made", "machine", "lost"),
    [
        (running(), "air-01", [Kept("db", ("data",))]),
        (running(), "air-02", []),
        (running(homes=("air-02",)), "air-02", [Kept("db", ("data",))]),
        (running(homes=("air-02",)), "air-01", []),
        (cluster(database(stopped=True)).at_home("db", "air-01"), "air-01", [Kept("db", ("data",))]),
        (cluster(database(None)).runs("db", count=3, replicas=None), "air-03", [Kept("db", ("data",))]),
        (cluster().key("/cluster/scheduled/db", "{"), "air-01", [Kept("db", ())]),
        (cluster(record("web")).runs("web"), "air-01", []),
    ],
)
def test_what_would_be_lost_with_a_machine(made: Cluster, machine: str, lost: list[Kept]) -> None:
    assert volumes_on(made.state(), machine) == lost


def test_a_loss_is_refused_with_service_volume_and_machine() -> None:
    refuse_loss([], "air-01")
    with pytest.raises(Refused) as refused:
        refuse_loss([Kept("db", ("data", "wal")), Kept("queue", ())], "air-01")
    assert str(refused.value) == (
        "air-01 has the volumes data, wal of db; perhaps volumes of queue, lost with it: --lose-volumes says that you "
        "know"
    )


def test_what_is_left_of_homes_when_a_machine_goes() -> None:
    assert homes_left(service(running()), "air-01") == ()
    assert homes_left(service(running(2, homes=("air-01", "air-02"))), "air-01") == ("air-02",)
