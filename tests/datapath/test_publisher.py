"""Publications in real maps: which rows, and in which order."""

import pytest

from kmesh_lab.datapath.plan import ORDER, Publication
from kmesh_lab.errors import LabError
from kmesh_lab.mesh import LoadBalancing, Service, Workload

pytestmark = pytest.mark.root

FAILOVER = LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])


def test_every_row_of_a_publication_byte_for_byte(tables):
    httpbin = Service("httpbin.default", "10.96.0.10", {80: 8080})  # id 2454042994, 0x9245b972
    pod = Workload("httpbin-abc", "10.244.1.2", "n1", "cn-west/xian/a")  # uid 3096016647, 0xb8897707

    tables.apply(httpbin, pod)

    assert tables.hex("km_frontend") == {
        "0a60000a000000000000000000000000": "72b94592",
        "0af40102000000000000000000000000": "077789b8",
    }
    assert tables.hex("km_service") == {
        "72b94592": "01000000" + 24 * "00" + "00000000" + "00500000" + 36 * "00" + "1f900000" + 36 * "00" + 20 * "00"
    }
    assert tables.hex("km_endpoint") == {"72b945920000000001000000": "077789b8"}
    assert tables.hex("km_backend") == {
        "077789b8": "0af40102" + 12 * "00" + "01000000" + "72b94592" + 36 * "00" + 20 * "00"
    }


def test_each_node_has_priorities_of_its_own(make_tables, service):
    web = service("web", load_balancing=FAILOVER)
    pods = [
        Workload(name, f"10.244.1.{number}", "n1", locality)
        for number, (name, locality) in enumerate(
            [("a", "cn-west/xian/a"), ("b", "cn-west/xian/b"), ("o", "eu/oslo/a")]
        )
    ]
    nodes = [make_tables(locality) for locality in ("cn-west/xian/a", "cn-west/xian/b", "eu/oslo/b", None)]

    for each in nodes:
        each.apply(web, *pods)

    assert [each.names(web) for each in nodes] == [
        {(0, 1): "a", (1, 1): "b", (3, 1): "o"},
        {(1, 1): "a", (0, 1): "b", (3, 1): "o"},
        {(3, 1): "a", (3, 2): "b", (1, 1): "o"},
        {(0, 1): "a", (0, 2): "b", (0, 3): "o"},
    ]
    assert [each.views.service[web].prio_endpoint_count for each in nodes] == [
        (1, 1, 0, 1, 0, 0, 0),
        (1, 1, 0, 1, 0, 0, 0),
        (0, 1, 0, 2, 0, 0, 0),
        (3, 0, 0, 0, 0, 0, 0),
    ]


def test_endpoints_grow_shrink_and_change_places(tables, workload, service):
    web, (a, b, c, d) = service("web"), (workload(name, number) for number, name in enumerate("abcd", 1))

    for endpoints in [(a,), (a, b, c), (c, a), (d,), (), (b, a)]:
        tables.apply(web, *endpoints)
        assert tables.names(web) == {(0, at): each.name for at, each in enumerate(endpoints, 1)}
        assert tables.views.service[web].prio_endpoint_count == (len(endpoints), 0, 0, 0, 0, 0, 0)
        assert {tables.publisher.workload(uid).name for uid in tables.views.backend} == {
            each.name for each in endpoints
        }
        assert len(tables.views.frontend) == 1 + len(endpoints)


def test_a_change_of_policy_moves_the_endpoints_to_their_priorities_and_back(tables, workload, service):
    near, far = workload("near", 1), workload("far", 2, "eu/oslo/a")

    tables.apply(service("web"), near, far)
    random = tables.snapshot()
    tables.apply(service("web", load_balancing=FAILOVER), near, far)
    failover = tables.names(service("web"))
    tables.apply(service("web"), near, far)

    assert failover == {(0, 1): "near", (3, 1): "far"}
    assert tables.snapshot() == random


def test_rows_are_written_from_the_backend_to_the_frontend(tables, workload, service):
    tables.apply(service("web"), workload("a", 1), workload("b", 2))

    assert [name for name, what, _ in tables.notes if what == "update"] == [
        *("km_backend", "km_backend"),
        *("km_endpoint", "km_endpoint"),
        "km_service",
        *("km_frontend", "km_frontend", "km_frontend"),
    ]


def test_what_is_no_longer_counted_stays_until_no_program_can_count_it(tables, workload, service):
    web, a, b = service("web"), workload("a", 1), workload("b", 2)
    tables.apply(web, a, b)
    before = tables.snapshot()
    tables.notes.clear()

    applied = tables.publisher.apply([Publication(web, (a,))])
    at_once = tables.snapshot()
    applied.commit()
    tables.publisher.settle()

    assert at_once["km_endpoint"] == before["km_endpoint"]
    assert at_once["km_backend"] == before["km_backend"]
    assert at_once["km_service"] != before["km_service"]
    assert [note[:2] for note in tables.notes] == [
        ("km_frontend", "delete"),  # of b's own address
        ("km_service", "update"),
        ("km_endpoint", "delete"),
        ("km_backend", "delete"),
    ]
    assert len(tables.views.endpoint) == len(tables.views.backend) == 1


def test_applying_the_same_again_writes_nothing(tables, workload, service):
    publications = [
        Publication(service("web", load_balancing=FAILOVER), (workload("a", 1), workload("b", 2, "eu/oslo/a"))),
        Publication(service("shop", "10.96.0.11"), (workload("a", 1), workload("c", 3, healthy=False))),
    ]
    tables.apply_all(*publications)
    before = tables.snapshot()
    tables.notes.clear()

    tables.apply_all(*publications)

    assert tables.notes == []
    assert tables.snapshot() == before


def test_applying_again_repairs_what_somebody_else_has_changed(tables, workload, service):
    web = service("web")
    tables.apply(web, workload("a", 1), workload("b", 2))
    before = tables.snapshot()
    tables.views.service[web] = tables.views.service[web].__class__((9, 0, 0, 0, 0, 0, 0), 3, ())
    del tables.views.endpoint[web, 0, 2], tables.views.frontend["10.96.0.10"]

    tables.apply(web, workload("a", 1), workload("b", 2))

    assert tables.snapshot() == before


def test_many_services_at_once_are_the_same_rows_as_a_few_after_the_others(make_tables, workload, service):
    one, other = make_tables("cn-west/xian/a"), make_tables("cn-west/xian/a")
    pods = [workload(f"p{number}", number) for number in range(1, 100)]
    services = [service(f"s{number}", f"10.96.{number // 250}.{number % 250}") for number in range(300)]
    publications = [Publication(each, (pods[at % 99], pods[(at + 1) % 99])) for at, each in enumerate(services[:300])]

    one.apply_all(*publications)
    for at in range(0, 300, 10):
        other.apply_all(*publications[at : at + 10])

    assert one.snapshot() == other.snapshot()
    assert len(one.views.service) == 300


def test_hundreds_of_vips_that_go_leave_the_others_alone(tables, service):
    going = [service(f"s{number}", f"10.96.1.{number}") for number in range(1, 251)]
    going += [service(f"t{number}", f"10.96.2.{number}") for number in range(1, 51)]
    staying = service("web")
    tables.apply_all(Publication(staying, ()), *(Publication(each, ()) for each in going))

    moved = [Service(each.name, f"10.97.{at // 250}.{at % 250 + 1}", dict(each.ports)) for at, each in enumerate(going)]
    tables.apply_all(*(Publication(each, ()) for each in moved))

    assert len(tables.views.frontend) == 301
    assert tables.views.frontend["10.96.0.10"] == tables.views.id_of(staying)


def test_deleting_a_service_leaves_nothing_of_it(tables, workload, service):
    tables.apply(service("shop", "10.96.0.11"), workload("a", 1))
    before, ids = tables.snapshot(), len(tables.publisher.ids)
    tables.apply(service("web"), workload("a", 1), workload("b", 2))

    tables.publisher.delete(service("web")).commit()
    tables.publisher.settle()

    assert tables.snapshot() == before
    assert len(tables.publisher.ids) == ids
    assert tables.publisher.publication(service("web")) is None
    assert [each.service for each in tables.publisher.publications()] == [service("shop", "10.96.0.11")]


def test_ids_of_what_is_gone_are_given_back_and_others_kept(tables, workload, service):
    a, b = workload("a", 1), workload("b", 2)
    tables.apply(service("web"), a, b)
    kept = tables.views.id_of(a)

    tables.apply(service("web"), a)

    assert a.uid in tables.publisher.ids
    assert b.uid not in tables.publisher.ids
    assert tables.views.id_of(a) == kept
    assert len(tables.publisher.ids) == 2


def test_a_pod_has_a_frontend_a_backend_and_no_service(tables, workload, service):
    a = workload("a", 1)
    tables.publisher.put_workload(a, (Service("w", "10.96.0.20", {1: 1}).vips[0], 15008)).commit()
    tables.publisher.settle()

    assert tables.hex("km_backend") == {
        tables.rows.pack_id(tables.views.id_of(a)).hex(): "0af40101" + 56 * "00" + "0a600014" + 12 * "00" + "3aa00000"
    }
    assert list(tables.hex("km_frontend")) == ["0af40101000000000000000000000000"]

    tables.publisher.remove_workload(a).commit()
    tables.publisher.settle()
    assert tables.snapshot() == {name: {} for name in ORDER}
    assert len(tables.publisher.ids) == 0


def test_names_lead_to_ids_and_back(tables, workload, service):
    web, a = service("web"), workload("a", 1)
    tables.apply(web, a)
    publisher = tables.publisher

    assert publisher.key_named("web.shop") == web.key
    assert publisher.key_named("a") == a.uid
    assert [publisher.name_of(publisher.ids.id_of(key)) for key in (web.key, a.uid)] == ["web.shop", "a"]
    assert publisher.workload(publisher.ids.id_of(a.uid)) == a
    assert (publisher.name_of(7), publisher.workload(7)) == (None, None)
    with pytest.raises(LabError, match="nothing on this node is called 'b'"):
        publisher.key_named("b")
