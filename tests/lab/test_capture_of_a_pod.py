"""`Pod.capture`: the wire as a pod sees it, while a block runs."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP

import kmesh_lab as km
from kmesh_lab.traffic import KmeshTLV
from tests.lab.outside import Machine, kill

pytestmark = pytest.mark.root


def test_the_tlv_is_captured_on_the_wire_in_the_namespace_of_the_waypoint(shop) -> None:
    waypoint = shop.lab.waypoint("waypoint", node=shop.n1)
    shop.lab.apply(shop.inventory, endpoints=[shop.near], waypoint=waypoint)

    with waypoint.capture(port=15019) as capture, shop.shop.connect(shop.inventory) as c:
        c.get("/stock/42")

    tlv = next(packet for packet in capture if KmeshTLV in packet)
    assert (tlv[IP].src, tlv[IP].dst, tlv[TCP].dport) == ("10.244.1.1", str(waypoint.address), 15019)
    assert capture.payloads[0] == bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
    assert capture.payloads[1].startswith(b"GET /stock/42 ")
    assert "shop → waypoint:15019" in capture._repr_html_()
    assert repr(capture) == "<Capture waypoint eth0 port 15019: 3 segments, 194 bytes of payload>"


def test_the_capture_of_one_pod_is_not_that_of_another(shop) -> None:
    with shop.near.capture() as near, shop.far.capture() as far:
        shop.shop.connect(shop.near).get("/stock/42")

    assert len(near.segments) == 2
    assert far.segments == []


def test_a_capture_keeps_what_it_has_when_its_pod_is_killed_or_deleted(shop) -> None:
    with shop.near.capture(8080) as capture:
        shop.shop.connect(shop.near).get("/stock/42")
        kill(shop.near)
        shop.lab.delete(shop.near)
        assert capture.closed

    assert len(capture.segments) == 2


def test_a_lab_that_is_closed_ends_its_captures_and_leaves_nothing() -> None:
    machine = Machine()
    lab = km.Lab()
    pod = lab.pod("shop", lab.node("n1"))
    capture = pod.capture()

    lab.close()

    assert capture.closed
    assert machine.left(10) == []
    with pytest.raises(km.LabError, match="this lab is closed"):
        pod.capture()


@pytest.mark.parametrize("port", [0, 65536, "http", True])
def test_a_port_that_is_none_is_refused(open_all_day, port) -> None:
    with pytest.raises(ValueError, match="port"):
        open_all_day.shop.capture(port)
