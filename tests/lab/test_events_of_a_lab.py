"""events(): what the programs report to km_tcp_probe while somebody looks."""

from __future__ import annotations

import pytest
from IPython.lib.pretty import pretty

import kmesh_lab as km

pytestmark = pytest.mark.root


def told(events) -> list[tuple[str, str]]:
    return [(event.direction, event.state) for event in events]


BOTH_SIDES = {("OUTBOUND", "ESTABLISHED"), ("INBOUND", "ESTABLISHED"), ("OUTBOUND", "CLOSE"), ("INBOUND", "CLOSE")}


def test_a_connection_is_reported_by_both_sides_when_it_begins_and_when_it_ends(open_all_day) -> None:
    day = open_all_day

    with day.lab.events() as events, day.shop.connect(day.inventory) as c:
        assert c.send(b"hello") == 5
        assert c.recv() == b"inventory-a: hello"

    assert (len(events), set(told(events)), events.lost) == (4, BOTH_SIDES, 0)
    client = next(event for event in events if told([event]) == [("OUTBOUND", "CLOSE")])
    assert (client.source[0], client.destination) == (day.shop.address, (day.near.address, 8080))
    assert client.original == (day.inventory.vips[0], 80)
    assert (client.sent_bytes, client.received_bytes) == (5 + 2, 18 + 1)  # SYN and FIN count
    server = next(event for event in events if told([event]) == [("INBOUND", "CLOSE")])
    assert (server.source, server.destination, server.original) == (client.source, client.destination, None)


def test_events_are_a_table_in_the_order_of_time_with_names_instead_of_addresses(open_all_day) -> None:
    day = open_all_day

    with day.lab.events() as events:
        day.shop.connect(day.inventory).close()

    assert [event.last_report_ns for event in events] == sorted(event.last_report_ns for event in events)
    lines = pretty(events).splitlines()
    assert lines[0] == "<Events: 4 records, 0 lost>"
    assert lines[1].split() == ["OUTBOUND", "ESTABLISHED", "shop", "inventory-a", "10.96.0.10:80", "1", "0"]
    html = events._repr_html_()
    assert "<td>shop</td><td>inventory-a</td><td>10.96.0.10:80</td>" in html


def test_what_happened_before_and_after_is_left_out(open_all_day) -> None:
    day = open_all_day
    day.shop.connect(day.inventory).close()

    with day.lab.events() as events:
        pass
    day.shop.connect(day.inventory).close()

    assert list(events) == []
    assert pretty(events) == "<Events: 0 records, 0 lost>"


def test_events_of_all_nodes_come_together_also_of_one_that_is_made_meanwhile(shop) -> None:
    with shop.lab.events() as events:
        late = shop.lab.pod("late", shop.lab.node("n3", "cn-west/xian/c"))
        late.connect(shop.far).close()

    assert set(told(events)) == BOTH_SIDES
    assert {event.source[0] for event in events} == {late.address}


def test_who_looks_inside_takes_nothing_from_who_looks_outside(open_all_day) -> None:
    day = open_all_day

    with day.lab.events() as outer:
        day.shop.connect(day.inventory).close()
        with day.lab.events() as inner:
            day.shop.connect(day.inventory).close()

    assert (len(outer), len(inner)) == (8, 4)
    assert list(outer)[4:] == list(inner)


def test_events_that_were_seen_before_an_exception_are_kept(open_all_day) -> None:
    day = open_all_day
    seen = []

    def look() -> None:
        with day.lab.events() as events:
            seen.append(events)
            day.shop.connect(day.inventory).close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look()

    assert len(seen[0]) == 4


def test_records_that_found_the_ring_buffer_full_are_counted(open_all_day) -> None:
    day = open_all_day

    with day.lab.events() as events:
        day.shop.connect_many(day.inventory, count=1000)

    assert events.lost > 0
    assert len(events) + events.lost == 4000


def test_monitoring_can_be_switched_off_and_on(open_all_day) -> None:
    day = open_all_day

    day.n1.configure(monitoring=False)
    with day.lab.events() as off:
        day.shop.connect(day.near).close()
    day.n1.configure()
    with day.lab.events() as on:
        day.shop.connect(day.near).close()

    assert (len(off), len(on)) == (0, 4)


def test_a_watch_that_nobody_reads_keeps_the_newest_events_and_counts_the_others(open_all_day) -> None:
    day = open_all_day
    watch = day.lab.observatory.watch(keep=3)
    try:
        with day.lab.events() as events:
            day.shop.connect(day.inventory).close()
            day.shop.connect(day.inventory).close()

        assert (len(events), watch.total, watch.missed) == (8, 8, 5)
        assert len(watch.read()) == 3
        assert watch.read() == []
    finally:
        watch.close()

    day.shop.connect(day.inventory).close()
    with day.lab.events():
        pass
    assert watch.total == 8, "nothing more after close()"


def test_a_watch_remembers_what_was_lost_when_the_lab_is_closed() -> None:
    with km.Lab() as lab:
        n1 = lab.node("n1")
        shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
        watch = lab.observatory.watch()
        shop.connect_many(near, count=600)
        before = watch.lost

    assert watch.lost == before > 0
