"""A change prepared: what a draft would write, delete and give back, without touching a map."""

import pytest
from planner import HERE

from kmesh_lab.datapath.plan import Publication, endpoint_priority
from kmesh_lab.datapath.rows import pack_ip
from kmesh_lab.errors import LabError
from kmesh_lab.mesh import LoadBalancing, Service, Workload

pytestmark = pytest.mark.root  # the layouts come from bcc, which makes maps while it compiles

FAILOVER = LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
STRICT = LoadBalancing("STRICT", ["REGION", "ZONE"])


@pytest.fixture
def by_locality():
    """Workloads at places that share 3, 2, 1 and 0 of region, zone and subzone with HERE."""
    localities = ("cn-west/xian/a", "cn-west/xian/b", "cn-west/chengdu/a", "eu-north/oslo/a")
    return [Workload(f"w{at}", f"10.244.9.{at}", "n9", locality) for at, locality in enumerate(localities)]


@pytest.mark.parametrize(
    ("policy", "place", "expected"),
    [
        (FAILOVER, HERE, [0, 1, 2, 3]),
        (STRICT, HERE, [0, 0, 1, 2]),
        (FAILOVER, None, [0, 0, 0, 0]),  # a node that does not know where it is
        (LoadBalancing("RANDOM", ["REGION"]), HERE, [0, 0, 0, 0]),
        (LoadBalancing("FAILOVER"), HERE, [0, 0, 0, 0]),
    ],
)
def test_priority_is_the_number_of_scopes_from_the_first_that_differs(by_locality, policy, place, expected):
    service = Service("inventory.shop", "10.96.0.10", {80: 8080}, policy)

    assert [endpoint_priority(service, workload, place) for workload in by_locality] == expected


def test_endpoints_count_from_one_within_each_priority(planner, by_locality, service):
    web = service("web", load_balancing=STRICT)

    draft = planner.publish(Publication(web, tuple(by_locality)))

    number = planner.ids.id_of(web.key)
    assert draft.writes["km_endpoint"] == {
        planner.rows.pack_endpoint_key(number, prio, index): planner.id(by_locality[at].uid)
        for at, (prio, index) in enumerate([(0, 1), (0, 2), (1, 1), (2, 1)])
    }
    assert planner.counts(draft, web) == (2, 1, 1, 0, 0, 0, 0)


def test_an_unhealthy_workload_is_a_backend_and_no_endpoint(planner, workload, service):
    sick, well = workload("sick", 1, healthy=False), workload("well", 2)

    draft = planner.publish(Publication(service("web"), (sick, well)))

    assert list(draft.writes["km_endpoint"].values()) == [planner.id(well.uid)]
    assert planner.counts(draft, service("web")) == (1, 0, 0, 0, 0, 0, 0)
    assert planner.id(sick.uid) in draft.writes["km_backend"]


def test_a_first_publication_writes_everything_and_deletes_nothing(planner, workload, service):
    web, a = service("web"), workload("a", 1)

    draft = planner.publish(Publication(web, (a,)))

    assert draft.writes["km_frontend"] == {
        pack_ip(web.vips[0]): planner.id(web.key),
        pack_ip(a.address): planner.id(a.uid),
    }
    assert {name: len(rows) for name, rows in draft.writes.items()} == {
        "km_backend": 1,
        "km_endpoint": 1,
        "km_service": 1,
        "km_frontend": 2,
    }
    assert (draft.first, list(draft.retire.values())) == (set(), [set()] * 4)
    assert draft.new == {web.key, a.uid}
    assert draft.gone() == []


def test_what_is_no_longer_counted_is_deleted_later_and_the_address_at_once(planner, workload, service):
    web, a, b = service("web"), workload("a", 1), workload("b", 2)
    planner.publish(Publication(web, (a, b)))

    draft = planner.publish(Publication(web, (b,)))

    number = planner.ids.id_of(web.key)
    assert draft.first == {pack_ip(a.address)}
    assert draft.retire["km_endpoint"] == {planner.rows.pack_endpoint_key(number, 0, 2)}
    assert draft.retire["km_backend"] == {planner.id(a.uid)}
    assert draft.retire["km_service"] == draft.retire["km_frontend"] == set()
    assert draft.gone() == [a.uid]


def test_with_another_policy_the_endpoints_of_old_priorities_are_deleted_later(planner, by_locality, service):
    planner.publish(Publication(service("web"), tuple(by_locality)))

    draft = planner.publish(Publication(service("web", load_balancing=FAILOVER), tuple(by_locality)))

    key, number = planner.rows.pack_endpoint_key, planner.ids.id_of(service("web").key)
    assert list(draft.writes["km_endpoint"]) == [key(number, prio, 1) for prio in range(4)]
    assert draft.retire["km_endpoint"] == {key(number, 0, index) for index in (2, 3, 4)}
    assert planner.counts(draft, service("web")) == (1, 1, 1, 1, 0, 0, 0)


def test_withdrawing_deletes_the_frontend_at_once_and_the_rest_later(planner, workload, service):
    web, a = service("web"), workload("a", 1)
    planner.publish(Publication(web, (a,)))
    draft = planner.draft()

    draft.withdraw(web)

    assert draft.first == {pack_ip(web.vips[0]), pack_ip(a.address)}
    assert {name: len(keys) for name, keys in draft.retire.items()} == {
        "km_backend": 1,
        "km_endpoint": 1,
        "km_service": 1,
        "km_frontend": 0,
    }
    assert not any(draft.writes.values())
    assert sorted(draft.gone()) == sorted([web.key, a.uid])


def test_a_pod_stays_when_no_service_uses_it(planner, workload, service):
    web, a = service("web"), workload("a", 1)
    draft = planner.draft()
    draft.put_workload(a, None)
    draft.merge()
    planner.publish(Publication(web, (a,)))

    draft = planner.publish(Publication(web, ()))

    assert planner.rows.unpack_backend(draft.writes["km_backend"][planner.id(a.uid)]).services == ()
    assert (draft.first, draft.retire["km_backend"], draft.gone()) == (set(), set(), [])


def test_a_draft_that_is_not_merged_changes_nothing(planner, workload, service):
    web, a = service("web"), workload("a", 1)
    planner.publish(Publication(web, (a,)))
    before = (dict(planner.published.services), dict(planner.published.backends), dict(planner.published.vips))

    draft = planner.draft()
    draft.publish([Publication(service("web", "10.96.0.99"), (workload("b", 2),))])
    draft.withdraw(web)

    assert (planner.published.services, planner.published.backends, planner.published.vips) == before


def test_withdrawing_and_removing_what_is_not_published_changes_nothing(planner, workload, service):
    draft = planner.draft()

    draft.withdraw(service("shop"))
    draft.remove_workload(workload("b", 2))

    assert not any(draft.writes.values())
    assert not any(draft.retire.values())
    assert (draft.first, draft.new, draft.gone()) == (set(), set(), [])


def test_a_workload_behind_a_service_is_not_removed(planner, workload, service):
    planner.publish(Publication(service("web"), (workload("a", 1),)))

    with pytest.raises(LabError, match=r"^workload 'a' is still an endpoint of .*web\.shop.*; apply those without it"):
        planner.draft().remove_workload(workload("a", 1))


def test_the_target_ports_of_a_waypoint_are_those_of_its_tlv_listener(planner, workload):
    entrance = Service("waypoint.shop", "10.96.0.20", {15008: 15008})

    draft = planner.publish(Publication(entrance, (workload("waypoint", 1),)))

    row = planner.rows.unpack_service(draft.writes["km_service"][planner.id(entrance.key)])
    assert row.ports == ((15008, 15019),)
