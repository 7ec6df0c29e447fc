"""Which writes lead from what stands in etcd to what must: `registrations.plan`, and what is known of etcd."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.agent.registrar.registered import Holdings, MirroredKeys, is_active, seen
from argosy.etcd import Compare, Delete, Entry, Put
from argosy.etcd.values import MAX_WRITES, Target
from argosy.model import Endpoint
from argosy.schema.instances import (
    Registration,
    Wanted,
    Write,
    guards,
    is_generation,
    is_own,
    plan,
    plan_generations,
    weight_of,
)

LEASE = 7
HOST = "/services/web/hosts/air-01:web-1"
WEIGHT = "/services/web/weight/air-01:web-1"
DRAIN = "/services/web/drain/air-01:web-1"
GENERATION = "/services/web/generation/7"
STANDS = Wanted(Registration("web", "air-01:web-1", Endpoint("10.0.0.5", 80)), registered=True, declared=True)
NEW = dataclasses.replace(STANDS, registered=False, declared=False)


def entry(key: str, value: str = "10.0.0.5:80", lease: int = LEASE, revision: int = 5) -> Entry:
    return Entry(key, value, revision, revision, lease=lease)


def present(*entries: Entry) -> dict[str, Entry]:
    return {entry.key: entry for entry in entries}


def changed(wanted: Wanted, **fields: Any) -> Wanted:
    return dataclasses.replace(wanted, registration=dataclasses.replace(wanted.registration, **fields))


def planned(there: dict[str, Entry], *wanted: Wanted, lease: int = LEASE, schemes: tuple[str, ...] = ("web",)) -> Any:
    return [*plan(there, wanted, lease, schemes), *plan_generations(there, wanted, lease, schemes)]


class TestAnInstance:
    def test_is_put_with_the_lease(self) -> None:
        assert planned({}, NEW) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_that_stands_is_left_alone(self) -> None:
        assert planned(present(entry(HOST)), STANDS) == []

    def test_that_stands_from_before_is_not_put_again_for_its_attributes(self) -> None:
        assert planned(present(entry(HOST)), changed(STANDS, attributes={"scheme": "http"})) == []

    def test_that_is_gone_goes_with_its_weight(self) -> None:
        assert planned(present(entry(HOST), entry(WEIGHT, "10"))) == [(Delete(HOST), Delete(WEIGHT))]

    @pytest.mark.parametrize("there", [entry(HOST, "10.0.0.5:81"), entry(HOST, lease=8), entry(HOST, lease=0)])
    def test_that_stands_otherwise_is_put_again(self, there: Entry) -> None:
        assert planned(present(there), STANDS) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_that_somebody_deleted_is_put_again(self) -> None:
        assert planned({}, STANDS) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_that_somebody_drained_and_deleted_stays_away(self) -> None:
        assert planned(present(entry(DRAIN, "", lease=0)), STANDS) == []

    def test_that_begins_is_put_though_an_operator_drains_it(self) -> None:
        assert planned(present(entry(DRAIN, "", lease=0)), NEW) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_of_an_operator_is_not_ours_to_delete(self) -> None:
        assert planned(present(entry(HOST, lease=0), entry(WEIGHT, "0", lease=0), entry(DRAIN, lease=0))) == []

    def test_waits_for_a_lease_while_others_go(self) -> None:
        old = "/services/web/hosts/air-01:old"
        assert planned(present(entry(old)), NEW, lease=0) == [(Delete(old),)]

    def test_with_another_name_changes_places_at_once(self) -> None:
        renamed = changed(STANDS, instance="air-01:web-2")
        (deeds,) = planned(present(entry(HOST)), renamed)
        assert deeds == (Delete(HOST), Put("/services/web/hosts/air-01:web-2", "10.0.0.5:80", LEASE))


class TestItsWeight:
    weighted = changed(NEW, weight="10")

    def test_comes_with_it(self) -> None:
        assert planned({}, self.weighted) == [(Put(HOST, "10.0.0.5:80", LEASE), Put(WEIGHT, "10", LEASE))]

    def test_of_an_operator_wins(self) -> None:
        there = present(entry(WEIGHT, "0", lease=0))
        assert planned(there, self.weighted) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_moves_to_a_new_lease(self) -> None:
        there = present(entry(HOST, lease=6), entry(WEIGHT, "10", lease=6))
        assert planned(there, changed(STANDS, weight="10")) == [
            (Put(HOST, "10.0.0.5:80", LEASE), Put(WEIGHT, "10", LEASE))
        ]

    def test_that_no_label_says_any_more_goes(self) -> None:
        assert planned(present(entry(HOST), entry(WEIGHT, "10")), STANDS) == [(Delete(WEIGHT),)]


class TestTheWeightOfItsGeneration:
    weighed = changed(NEW, weight="0", generation=7, weighed=42)

    @pytest.mark.parametrize(
        ("label", "own", "weight"),
        [
            ("", None, ""),
            ("10", None, "10"),
            ("", "0", "0"),
            ("10", " 25\n", "25"),
            ("10", "257", "10"),
            ("", "all", ""),
        ],
    )
    def test_counts_before_the_label_s_unless_it_is_bad(self, label: str, own: str | None, weight: str) -> None:
        assert weight_of(label, entry(GENERATION, own, lease=0) if own is not None else None) == weight

    def test_comes_with_the_instance_on_the_condition_that_it_is_that_still(self) -> None:
        (deeds,) = planned({}, self.weighed)
        assert deeds == (Put(HOST, "10.0.0.5:80", LEASE), Put(WEIGHT, "0", LEASE))
        assert guards(deeds, [self.weighed]) == [Compare(GENERATION, Target.MOD_REVISION, 42)]

    def test_without_a_key_the_condition_is_that_there_is_none(self) -> None:
        without = changed(NEW, generation=7)
        (deeds,) = planned({}, without)
        assert guards(deeds, [without]) == [Compare(GENERATION, Target.MOD_REVISION, 0)]

    def test_is_followed(self) -> None:
        there = present(entry(HOST), entry(WEIGHT, "0"))
        stands = changed(STANDS, generation=7, weighed=43)
        assert planned(there, changed(stands, weight="0")) == []
        assert planned(there, changed(stands, weight="25")) == [(Put(WEIGHT, "25", LEASE),)]
        assert planned(there, changed(stands, weighed=0)) == [(Delete(WEIGHT),)]

    def test_an_operator_s_wins(self) -> None:
        there = present(entry(HOST), entry(WEIGHT, "50", lease=0))
        assert planned(there, changed(STANDS, weight="0", generation=7, weighed=43)) == []

    def test_keeps_it_from_the_service_s_own_keys(self) -> None:
        attributes = {"scheme": "http"}
        (deeds,) = planned({}, changed(self.weighed, attributes=attributes), schemes=())
        assert [deed.key for deed in deeds] == [HOST, WEIGHT]
        registered = dataclasses.replace(
            changed(self.weighed, attributes=attributes, weight="", weighed=0), registered=True
        )
        departed, deeds = planned(present(entry(HOST), entry(WEIGHT, "0")), registered)
        assert departed == (Delete(WEIGHT),)
        assert deeds[0] == Put("/services/web/scheme", "http")
        assert guards(deeds, [registered]) == [Compare(GENERATION, Target.MOD_REVISION, 0)]

    def test_what_goes_and_what_is_of_no_generation_waits_for_nothing(self) -> None:
        old = "/services/web/hosts/air-01:old"
        other = changed(NEW, service="api", instance="air-01:api-1")
        first, second = planned(present(entry(old)), self.weighed, other)
        assert [write.key for write in first] == [old, "/services/api/hosts/air-01:api-1"]
        assert list(first) == list(plan(present(entry(old)), [self.weighed, other], LEASE, ())[0])
        assert [write.key for write in second] == [HOST, WEIGHT]


class TestTheServicesOwnKeys:
    attributes = {"scheme": "tcp", "host_port": "5432"}  # noqa: RUF012

    def deeds(self) -> tuple[Write, ...]:
        return (
            Put("/services/web/scheme", "tcp"),
            Put("/services/web/host_port", "5432"),
            Delete("/services/web/private"),
            Delete("/services/web/sni"),
            Delete("/services/web/check"),
        )

    def test_come_in_the_same_transaction_without_a_lease(self) -> None:
        new = changed(NEW, attributes=self.attributes)
        assert planned({}, new) == [(Put(HOST, "10.0.0.5:80", LEASE), *self.deeds())]

    def test_are_not_put_again_when_it_fails_its_check_for_a_while(self) -> None:
        back = dataclasses.replace(changed(NEW, attributes=self.attributes), declared=True)
        assert planned({}, back) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_are_put_again_when_somebody_took_the_scheme_away(self) -> None:
        stands = changed(STANDS, attributes=self.attributes)
        assert planned(present(entry(HOST)), stands, schemes=()) == [self.deeds()]

    def test_are_left_alone_without_a_scheme_among_the_labels(self) -> None:
        assert planned({}, NEW, schemes=()) == [(Put(HOST, "10.0.0.5:80", LEASE),)]

    def test_of_two_instances_are_written_once_and_the_last_one_counts(self) -> None:
        first = changed(NEW, attributes={"scheme": "http"})
        second = changed(NEW, instance="air-01:web-2", attributes={"scheme": "tcp"})
        (deeds,) = planned({}, first, second)
        assert [deed.value for deed in deeds if deed.key == "/services/web/scheme"] == ["tcp"]


def many(count: int) -> list[Wanted]:
    attributes = {"scheme": "http"}
    registration = Registration("", "", Endpoint("10.0.0.5", 80), "1", attributes)
    return [
        Wanted(dataclasses.replace(registration, service=f"s{number % 50}", instance=f"air-01:c{number}"))
        for number in range(count)
    ]


class TestMany:
    def test_are_written_in_transactions_that_etcd_takes(self) -> None:
        transactions = planned({}, *many(200))
        assert all(len(deeds) <= MAX_WRITES for deeds in transactions)
        assert all(len({deed.key for deed in deeds}) == len(deeds) for deeds in transactions), "etcd takes no key twice"
        assert len(transactions) < 20

    @given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.integers(1, 2))
    def test_what_is_written_is_what_was_wanted(self, before: set[int], after: set[int], lease: int) -> None:
        every = many(31)
        there = apply({}, planned({}, *(every[number] for number in sorted(before)), lease=1))
        wanted = [every[number] for number in sorted(after)]
        there = apply(there, planned(there, *wanted, lease=lease))
        hosts = {key: entry for key, entry in there.items() if "/hosts/" in key}
        assert hosts.keys() == {want.registration.key for want in wanted}
        assert {host.lease for host in hosts.values()} <= {lease}
        settled = [dataclasses.replace(want, registered=True, declared=True) for want in wanted]
        names = {want.registration.service for want in wanted}
        assert plan(there, settled, lease, names) == [], "a second time there is nothing to do"


def apply(there: dict[str, Entry], transactions: list[tuple[Write, ...]]) -> dict[str, Entry]:
    held = Holdings("air-01", present=there)
    for deeds in transactions:
        held.wrote(deeds, 1)
    return held.present


class TestWhatIsOurs:
    @pytest.mark.parametrize(
        ("key", "own"),
        [
            (HOST, True),
            (WEIGHT, True),
            (DRAIN, True),
            ("/services/web/hosts/air-011:web-1", False),
            ("/services/web/hosts/by-hand", False),
            ("/services/web/scheme", False),
            ("/services/web/other/air-01:web-1", False),
            ("/machines/air-01", False),
        ],
    )
    def test_is_told_by_the_key(self, key: str, own: bool) -> None:
        assert is_own(key, "air-01") is own

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            (GENERATION, True),
            ("/services/web/weight/7", False),
            ("/services/generation/7", False),
            ("/services/generation/hosts/7", False),
            ("/settings/web/generation/7", False),
        ],
    )
    def test_a_generation_s_weight_is_told_by_the_key(self, key: str, expected: bool) -> None:
        assert is_generation(key) is expected


class TestHoldings:
    def test_know_the_weights_of_all_generations(self) -> None:
        held = Holdings("air-01")
        weight = entry(GENERATION, "0", lease=0)
        told = seen("air-01", 5, [GENERATION], present(weight), full=False)
        assert told is not None
        held.take(told)
        assert held.generation("web", 7) == weight
        assert held.generation("web", 8) is None
        assert held.present == {}
        held.take(MirroredKeys(6, {GENERATION: None}))
        assert held.generation("web", 7) is None
        held.take(told)
        held.take(MirroredKeys(7, {}, full=True))
        assert held.generation("web", 7) is None

    def test_take_what_the_mirror_has(self) -> None:
        held = Holdings("air-01")
        held.take(MirroredKeys(5, {HOST: entry(HOST)}, full=True))
        held.take(MirroredKeys(6, {HOST: None, DRAIN: entry(DRAIN)}))
        assert held.known
        assert held.present.keys() == {DRAIN}

    def test_know_their_own_writes_before_the_mirror_does(self) -> None:
        held = Holdings("air-01")
        held.wrote([Put(HOST, "new", LEASE), Put("/services/web/scheme", "http")], 9)
        held.take(MirroredKeys(8, {HOST: entry(HOST, "old", revision=8)}))
        held.take(MirroredKeys(8, {}, full=True))
        assert held.present[HOST].value == "new"
        assert held.has_written("/services/web/scheme")
        held.take(MirroredKeys(10, {HOST: None}))
        assert held.present == {}
        assert not held.has_written("/services/web/scheme")

    def test_a_listing_tells_what_is_not_there_any_more(self) -> None:
        held = Holdings("air-01", present=present(entry(HOST)))
        held.take(MirroredKeys(9, {DRAIN: entry(DRAIN)}, full=True))
        assert held.present.keys() == {DRAIN}

    def test_an_etcd_that_was_made_anew_is_believed(self) -> None:
        held = Holdings("air-01")
        held.take(MirroredKeys(900, {}, full=True))
        held.wrote([Put(HOST, "10.0.0.5:80", LEASE)], 901)
        held.take(MirroredKeys(3, {}, full=True))
        assert held.present == {}

    def test_a_batch_is_only_what_matters(self) -> None:
        entries = present(entry(HOST), entry("/services/web/scheme", "http"))
        assert seen("air-01", 5, ["/services/web/scheme"], entries, full=False) is None
        assert seen("air-01", 5, [HOST, DRAIN], entries, full=False) == MirroredKeys(
            5, {HOST: entries[HOST], DRAIN: None}
        )
        assert seen("air-01", 5, [], entries, full=True) == MirroredKeys(
            5, {HOST: entries[HOST], "/machines/air-01": None}, full=True
        )

    @pytest.mark.parametrize(
        ("record", "active"),
        [
            (None, True),
            ('{"state": "active"}', True),
            ("{}", True),
            ("no JSON", True),
            ('{"state": "draining"}', False),
            ('{"state": "down"}', False),
        ],
    )
    def test_the_machine_s_record_says_whether_it_may_have_instances(self, record: str | None, active: bool) -> None:
        found = None if record is None else entry("/machines/air-01", record)
        assert is_active(found) is active
        held = Holdings("air-01")
        held.take(MirroredKeys(5, {"/machines/air-01": found}))
        assert held.active is active

    def test_a_machine_s_record_says_what_stays_while_it_drains(self) -> None:
        held, kept, other = Holdings("air-01"), entry("/services/db/hosts/air-01:db-1"), entry(HOST)
        drains = entry("/machines/air-01", '{"state": "draining", "staying": ["db"]}', lease=0)
        held.take(MirroredKeys(5, {"/machines/air-01": drains, kept.key: kept, other.key: other}))
        assert (held.active, held.staying) == (False, ("db",))
        assert held.leaving() == {HOST: other}
        serves = entry("/machines/air-01", '{"state": "active", "staying": ["db"]}', lease=0)
        held.take(MirroredKeys(6, {"/machines/air-01": serves}))
        assert (held.active, held.staying) == (True, ())
