"""Publications that fail, are taken back, or meet each other: all rows or none."""

import threading

import pytest

from kmesh_lab.datapath.plan import ORDER, Publication
from kmesh_lab.datapath.transaction import Transaction
from kmesh_lab.errors import LabError, MapFull
from kmesh_lab.mesh import LoadBalancing

pytestmark = pytest.mark.root

FAILOVER = LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])


@pytest.mark.parametrize("full", ORDER)
def test_when_a_map_is_full_everything_is_as_before(tables, workload, service, full):
    web = service("web")
    tables.apply(web, workload("a", 1))
    tables.fill(full, room=1)
    before, ids = tables.snapshot(), len(tables.publisher.ids)
    change = [
        Publication(web, (workload("b", 2), workload("a", 1))),
        Publication(service("shop", "10.96.0.11"), (workload("c", 3), workload("d", 4))),
        Publication(service("cart", "10.96.0.12"), ()),
    ]

    with pytest.raises(MapFull, match=f"^map {full} is full: it holds {tables.maps[full].max_entries:,} rows"):
        tables.publisher.apply(change)

    assert tables.snapshot() == before
    assert len(tables.publisher.ids) == ids
    assert [each.service for each in tables.publisher.publications()] == [web]
    tables.apply(web, workload("a", 1))


def test_five_thousand_services_fit_and_one_more_does_not(tables, service):
    services = [
        service(f"s{number}", f"10.{100 + number // 60_000}.{number // 250}.{number % 250}") for number in range(5001)
    ]
    tables.apply_all(*(Publication(each, ()) for each in services[:5000]))
    before = tables.snapshot()

    with pytest.raises(MapFull, match=r"^map km_service is full: it holds 5,000 rows; delete some first$"):
        tables.apply_all(Publication(services[5000], ()))

    assert {name: len(rows) for name, rows in before.items()} == {
        "km_backend": 0,
        "km_endpoint": 0,
        "km_service": 5000,
        "km_frontend": 5000,
    }
    assert tables.snapshot() == before
    tables.publisher.delete(services[0]).commit()
    tables.apply_all(Publication(services[5000], ()))


def test_a_second_node_that_fails_takes_the_first_one_back(make_tables, workload, service):
    first, second = make_tables("cn-west/xian/a"), make_tables("cn-west/xian/b")
    web, old = service("web", load_balancing=FAILOVER), (workload("a", 1), workload("b", 2, "cn-west/xian/b"))
    for each in (first, second):
        each.apply(web, *old)
    second.fill("km_endpoint", room=0)
    before, ids = (first.snapshot(), second.snapshot()), len(first.publisher.ids)
    change = [Publication(service("web", "10.96.0.99"), (workload("c", 3), *old)), Publication(service("shop"), old)]

    applied = first.publisher.apply(change)
    with pytest.raises(MapFull):
        second.publisher.apply(change)
    applied.undo()

    assert (first.snapshot(), second.snapshot()) == before
    assert len(first.publisher.ids) == ids
    assert first.publisher.publication(web) == Publication(web, old)
    first.apply(web, *old)
    assert first.snapshot() == before[0]


def test_a_refused_change_leaves_no_ids(tables, workload, service):
    tables.apply(service("web"))
    before = len(tables.publisher.ids)

    with pytest.raises(LabError, match=r"VIP 10\.96\.0\.10 belongs to"):
        tables.apply(service("shop"), workload("a", 1))

    assert len(tables.publisher.ids) == before


def test_an_interrupted_change_is_taken_back(tables, workload, service, monkeypatch):
    tables.apply(service("web"), workload("a", 1))
    before = tables.snapshot()
    kind = type(tables.maps["km_service"])
    update, interrupts = kind.update, [KeyboardInterrupt()]

    def interrupted(self, key, value):
        update(self, key, value)
        if self.name == "km_service" and interrupts:
            raise interrupts.pop()

    monkeypatch.setattr(kind, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tables.apply(service("web", load_balancing=FAILOVER), workload("b", 2, "eu/oslo/a"))
    monkeypatch.undo()

    assert tables.snapshot() == before


def test_services_that_change_together_leave_no_stand_ins(tables, workload, service):
    names = {"web": "10.96.0.10", "shop": "10.96.0.11", "cart": "10.96.0.12"}
    old = [Publication(service(name, vip), (workload("a", 1),)) for name, vip in names.items()]
    new = [Publication(service(name, vip, {81: 8081}), (workload("a", 1),)) for name, vip in names.items()]
    tables.apply_all(*old)
    before = tables.snapshot()

    applied = tables.publisher.apply(new)
    meanwhile = tables.snapshot()
    applied.commit()
    tables.publisher.settle()

    assert len(meanwhile["km_service"]) == 5
    stand_ins = meanwhile["km_service"].keys() - before["km_service"].keys()
    assert {meanwhile["km_service"][key] for key in stand_ins} <= set(before["km_service"].values())
    assert tables.snapshot()["km_service"].keys() == before["km_service"].keys()
    tables.apply_all(*old)
    assert tables.snapshot() == before


@pytest.mark.parametrize(("number", "waits"), [(3, 2), (70, 0)], ids=["a few", "many"])
def test_services_that_change_together_in_a_full_map_need_no_room(tables, service, monkeypatch, number, waits):
    """Instead of a stand-in each takes a grace period, as long as that is less than a second."""
    waited = []
    services = [f"10.96.1.{at}" for at in range(1, number + 1)]
    tables.apply_all(*(Publication(service(f"s{vip[8:]}".replace(".", "-"), vip), ()) for vip in services))
    tables.fill("km_service", room=0)
    monkeypatch.setattr("kmesh_lab.datapath.transaction.wait_for_programs", lambda: waited.append(1))

    tables.apply_all(*(Publication(service(f"s{vip[8:]}".replace(".", "-"), vip, {81: 81}), ()) for vip in services))

    rows = [tables.views.service[tables.views.frontend[vip]] for vip in services]
    assert [row.ports for row in rows] == [((81, 81),)] * number
    assert len(tables.views.service) == 5000
    assert len(waited) == waits


def test_endpoints_of_many_services_change_together_with_one_stand_in_for_each_service(tables, workload, service):
    """The endpoints of one service may be taken for each other."""
    pods = [workload(f"p{number}", number) for number in range(1, 21)]
    services = [service(f"s{number}", f"10.96.1.{number}") for number in range(1, 11)]
    tables.apply_all(*(Publication(each, tuple(pods)) for each in services))
    before = dict(tables.maps["km_endpoint"].rows())

    applied = tables.publisher.apply([Publication(each, tuple(reversed(pods))) for each in services])
    meanwhile = len(tables.maps["km_endpoint"].rows())
    applied.commit()
    tables.publisher.settle()

    after = dict(tables.maps["km_endpoint"].rows())
    assert (len(before), meanwhile, len(after)) == (200, 209, 200)
    assert all(after[key] != value for key, value in before.items())


def test_what_goes_wrong_while_finishing_is_raised_by_the_next_who_waits(tables, workload, service, monkeypatch):
    tables.apply(service("web"), workload("a", 1), workload("b", 2))

    def broken():
        raise OSError(5, "no grace period")

    monkeypatch.setattr("kmesh_lab.datapath.publisher.wait_for_programs", broken)
    tables.publisher.apply([Publication(service("web"), (workload("a", 1),))]).commit()
    with pytest.raises(OSError, match="no grace period"):
        len(tables.views.endpoint)
    monkeypatch.undo()

    tables.publisher.settle()
    assert len(tables.views.endpoint) == 2  # the one that is not counted is still there, and does no harm
    assert tables.views.service[service("web")].prio_endpoint_count[0] == 1


def test_without_a_thread_to_be_had_the_caller_finishes_the_change_itself(tables, workload, service, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    web = service("web")
    tables.apply(web, workload("a", 1), workload("b", 2))
    monkeypatch.setattr(threading.Thread, "start", start)

    tables.apply(web, workload("b", 2))

    assert (len(tables.maps["km_endpoint"].rows()), len(tables.maps["km_backend"].rows())) == (1, 1)


def test_many_may_wait_for_a_publication_at_the_same_time(tables, workload, service):
    errors = []

    def watch():
        try:
            for _ in range(200):
                tables.publisher.settle()
        except BaseException as error:
            errors.append(error)

    watchers = [threading.Thread(target=watch) for _ in range(4)]
    for each in watchers:
        each.start()
    for number in range(20):
        tables.apply(service("web"), *[workload("a", 1), workload("b", 2)][: 1 + number % 2])
    for each in watchers:
        each.join()

    assert errors == []


def test_a_transaction_that_is_taken_back_leaves_rows_of_others_as_they_are(tables):
    target = tables.maps["km_endpoint"]
    mine = {bytes([number]) * 12: bytes([number]) * 4 for number in range(1, 9)}
    target.update_many([(key, b"old!") for key in list(mine)[:4]])
    transaction = Transaction()

    transaction.write(target, mine, size=0)
    written = dict(target.rows())
    target.update(b"\x77" * 12, b"else")
    transaction.undo()

    assert mine.items() <= written.items()
    assert dict(target.rows()) == dict.fromkeys(list(mine)[:4], b"old!") | {b"\x77" * 12: b"else"}
