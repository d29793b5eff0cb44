"""The session of docs/architecture.md, line by line, and inside a running event loop as in Jupyter."""

from __future__ import annotations

import asyncio

import pytest
from IPython.lib.pretty import pretty

import kmesh_lab as km

pytestmark = pytest.mark.root

SESSION = """
import kmesh_lab as km

lab = km.Lab()                                            # removed by lab.close(), or when the process ends
n1 = lab.node("n1", locality="cn-west/xian/a")            # a cgroup with the four programs attached
n2 = lab.node("n2", locality="cn-west/xian/b")
shop = lab.pod("shop", node=n1)
near = lab.pod("inventory-a", node=n1, listen=8080)
far = lab.pod("inventory-b", node=n2, listen=8080)
inventory = km.Service("inventory.shop", vip="10.96.0.10", ports={80: 8080},
                       load_balancing=km.LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE", "SUBZONE"]))
lab.apply(inventory, endpoints=[near, far])

c = shop.connect(inventory, 80)                           # a real connect(2), made inside the pod
shown = [c, c.backend, c.decision]

waypoint = lab.waypoint("waypoint", node=n1)
lab.apply(inventory, endpoints=[near, far], waypoint=waypoint)
shop.connect(inventory, 80).send(b"GET /stock/42")
packet = waypoint.captured()                              # a Scapy packet: KmeshTLV / KmeshTLVEnd / Raw
with lab.events() as events: shop.connect(inventory, 80).close()
"""


def run_session() -> dict[str, object]:
    names: dict[str, object] = {}
    exec(SESSION, names)
    return names


def check_session(names: dict[str, object]) -> None:
    lab = names["lab"]
    assert isinstance(lab, km.Lab)
    try:
        assert [repr(each) for each in names["shown"]] == [
            "<Connection shop → inventory-a 10.244.1.2:8080 (asked for 10.96.0.10:80)>",
            "<Pod inventory-a 10.244.1.2 cn-west/xian/a on n1>",
            "<Decision 10.96.0.10:80 → 10.244.1.2:8080: frontend → service → endpoint → backend → dnat>",
        ]
        assert bytes(names["packet"]) == bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000") + b"GET /stock/42"
        assert names["packet"].summary() == "KmeshTLV 10.96.0.10 port 80 / KmeshTLVEnd / Raw"
        # The connection before it, which nobody held, may be closing meanwhile; those rows come along.
        table = [line.split() for line in pretty(names["events"]).splitlines()]
        assert ["OUTBOUND", "ESTABLISHED", "shop", "waypoint", "10.96.0.10:80", "1", "0"] in table
        assert ["OUTBOUND", "CLOSE", "shop", "waypoint", "10.96.0.10:80", "2", "1"] in table
        assert repr(lab) == "<Lab: 2 nodes, 4 pods, 2 services>"
        assert repr(names["n1"]) == "<Node n1 cn-west/xian/a, 3 pods>"
        assert repr(names["waypoint"]) == "<Waypoint waypoint 10.96.255.1:15008 → 10.244.1.3 on n1>"
    finally:
        receipt = lab.close()
    assert repr(receipt) == "<Receipt: 2 nodes, 4 pods, 2 services, 16 programs removed; left behind: nothing>"


def test_the_session_of_the_architecture_runs_as_written() -> None:
    check_session(run_session())


def test_the_session_runs_inside_a_running_event_loop() -> None:
    async def cell() -> dict[str, object]:
        return run_session()

    check_session(asyncio.run(cell()))
