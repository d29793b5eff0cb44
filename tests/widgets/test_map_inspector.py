"""MapInspector without a browser: what it shows, what it writes, and what it refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat
import pytest
from nbclient import NotebookClient

import kmesh_lab as km
from kmesh_lab.widgets.map_inspector import MapInspector

pytestmark = pytest.mark.root

EVIL = "<img src=x onerror=alert(1)>"


@dataclass
class Shop:
    lab: km.Lab
    n1: km.Node
    shop: km.Pod
    near: km.Pod
    far: km.Pod
    inventory: km.Service
    inspector: MapInspector


@pytest.fixture
def day() -> Iterator[Shop]:
    with km.Lab() as lab:
        n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")
        shop = lab.pod("shop", n1)
        near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
        failover = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, failover)
        lab.apply(inventory, [near, far])
        inspector = MapInspector(n1, repair=lambda: lab.apply(inventory, [near, far]))
        yield Shop(lab, n1, shop, near, far, inventory, inspector)


def cells(inspector: MapInspector) -> list[list[str]]:
    """The rows as a reader sees them, without the ids."""
    return [[text for text, _ in row["cells"]] for row in inspector.frame["rows"]]


def test_every_map_is_shown_in_human_terms(day: Shop) -> None:
    look = day.inspector
    assert cells(look) == [
        ["10.96.0.10", "inventory.shop"],
        ["10.244.1.1", "shop"],
        ["10.244.1.2", "inventory-a"],
        ["10.244.2.1", "inventory-b"],
    ]
    look.show("service")
    assert cells(look) == [["inventory.shop", "FAILOVER", "1 1 0 0 0 0 0", "80→8080", "none"]]
    look.show("endpoint")
    assert cells(look) == [["inventory.shop", "0", "1", "inventory-a"], ["inventory.shop", "1", "1", "inventory-b"]]
    look.show("backend", "inventory-a")
    assert cells(look) == [["inventory-a", "10.244.1.2", "inventory.shop", "none"]]
    look.show("manage", "shop network")
    assert cells(look) == [["shop", "0"]]
    assert str(day.shop.netns_cookie) in look.frame["rows"][0]["cells"][0][1]


def test_the_bytes_stand_beside_and_every_field_has_its_comment(day: Shop) -> None:
    row = day.inspector.frame["rows"][0]
    assert row["key"] == "0a60000a000000000000000000000000"
    assert row["bytes"][0] == ["0a60000a 00×12"]
    day.inspector.show("service")
    frame = day.inspector.frame
    assert frame["rows"][0]["value"] == day.n1.maps.service.raw(day.inventory)[1].hex()
    assert frame["rows"][0]["bytes"][1] == [
        *("01000000 01000000 00×20", "02000000", "00500000 00×36", "1f900000 00×36", "00×16", "00000000"),
    ]
    assert [field[:3] for field in frame["layout"]["value"]] == [
        *(["prio_endpoint_count", 0, 28], ["lb_policy", 28, 4], ["service_port", 32, 40], ["target_port", 72, 40]),
        *(["wp_addr", 112, 16], ["waypoint_port", 128, 4]),
    ]
    assert frame["layout"]["value"][0][3] == "HOST; endpoints stored at each priority"


def test_changed_new_and_deleted_rows_are_marked_in_words(day: Shop) -> None:
    look = day.inspector
    look.show("endpoint")
    third = km.Service("third", "10.96.0.12", [8080])
    day.lab.apply({day.inventory: [day.near], third: [day.far]})
    day.n1.publisher.settle()
    look.refresh()

    marks = {tuple(text for text, _ in row["cells"]): row["mark"] for row in look.frame["rows"]}
    assert marks == {
        ("inventory.shop", "0", "1", "inventory-a"): "",
        ("inventory.shop", "1", "1", "inventory-b"): "deleted",
        ("third.default", "0", "1", "inventory-b"): "new",
    }
    look.show("service", "inventory")
    assert look.frame["rows"][0]["mark"] == "changed"
    assert {tab["name"]: tab["marks"] for tab in look.frame["tables"]}["service"] == 2


def test_marks_fade(day: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmesh_lab.widgets.map_table._MARKED", 0.05)
    day.lab.delete(day.inventory)
    day.n1.publisher.settle()
    day.inspector.show("service")
    day.inspector.refresh()
    assert [row["mark"] for row in day.inspector.frame["rows"]] == ["deleted"]
    time.sleep(0.06)
    day.inspector.refresh()
    assert day.inspector.frame["rows"] == []


def test_an_edit_is_what_the_next_connect_meets(day: Shop) -> None:
    day.inspector.edit("endpoint", (day.inventory, 0, 1), backend="inventory-b")
    assert day.shop.connect_many(day.inventory, count=20) == {"inventory-b": 20}
    day.inspector.undo()
    assert day.shop.connect_many(day.inventory, count=20) == {"inventory-a": 20}
    day.inspector.edit("service", day.inventory, policy="STRICT", count0="0")
    assert day.shop.connect_many(day.inventory, count=20).refused == {"EHOSTUNREACH": 20}
    day.inspector.repair()
    assert day.shop.connect_many(day.inventory, count=20) == {"inventory-a": 20}
    day.inspector.edit("frontend", "10.96.0.10", upstream=str(day.n1.maps.id_of(day.far)))
    assert day.n1.maps.frontend["10.96.0.10"] == day.n1.maps.id_of(day.far)


def test_every_kind_of_row_can_be_deleted_and_put_back(day: Shop) -> None:
    keys = {
        "frontend": "10.96.0.10",
        "service": day.inventory,
        "endpoint": (day.inventory, 1, 1),
        "backend": day.near,
        "manage": day.shop.netns_cookie,
    }
    for table, key in keys.items():
        before = getattr(day.n1.maps, table).raw(key)
        day.inspector.delete(table, key)
        with pytest.raises(KeyError):
            getattr(day.n1.maps, table).raw(key)
        day.inspector.undo()
        assert getattr(day.n1.maps, table).raw(key) == before
    with pytest.raises(km.LabError, match="nothing to undo"):
        day.inspector.undo()


@pytest.mark.parametrize(
    ("table", "fields", "message"),
    [
        ("frontend", {"upstream": "nobody"}, "nothing on this node is called 'nobody'"),
        ("frontend", {"upstream": "4294967296"}, "id '4294967296': expected a number from 0 to 4294967295"),
        ("frontend", {"upstream": "-1"}, "id '-1': expected a number from 0 to 4294967295"),
        ("frontend", {"upstream": ""}, "nothing on this node is called ''"),
        ("service", {"policy": "FAILVOER"}, "unknown policy 'FAILVOER': expected RANDOM, STRICT or FAILOVER"),
        ("service", {"count0": "many"}, "count at priority 0 'many': expected a number from 0 to 4294967295"),
        ("service", {"count7": "1"}, "no field 'count7' in km_service"),
        ("backend", {"address": "10.0.0.1"}, "no field 'address' in km_backend: its rows can only be deleted"),
        ("service", {}, "km_service: expected"),
    ],
)
def test_a_wrong_edit_is_refused_in_place_and_writes_nothing(
    day: Shop, table: str, fields: dict[str, str], message: str
) -> None:
    key = {"frontend": "10.96.0.10", "service": day.inventory, "backend": day.near}[table]
    packed, value = getattr(day.n1.maps, table).raw(key)
    with pytest.raises((ValueError, km.LabError), match=message):
        day.inspector.edit(table, key, **fields)

    wish = {"do": "edit", "table": table, "key": packed.hex(), "was": value.hex(), "fields": fields, "message": 1}
    day.inspector._heard(wish)

    answer = day.inspector.frame["answer"]
    assert (answer["ok"], answer["row"]) == (False, packed.hex())
    assert message in answer["text"]
    assert getattr(day.n1.maps, table).raw(key) == (packed, value)


def test_a_row_that_changed_meanwhile_is_not_overwritten(day: Shop) -> None:
    packed, value = day.n1.maps.service.raw(day.inventory)
    day.lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 8080}), [day.near])
    wish = {"table": "service", "key": packed.hex(), "was": value.hex()}

    day.inspector._heard({"do": "edit", **wish, "fields": {"policy": "STRICT"}})
    assert "changed since you opened it" in day.inspector.frame["answer"]["text"]
    day.inspector._heard({"do": "delete", **wish})
    assert day.n1.maps.service[day.inventory].policy_name == "RANDOM"

    day.lab.delete(day.inventory)
    day.inspector._heard({"do": "delete", **wish})
    assert day.inspector.frame["answer"]["text"] == "this row is not there any more"


def test_a_picture_taken_before_the_answer_is_there_does_not_pass_for_the_answer(
    day: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(day.inspector, "on_edit", lambda **_: drawn.append(day.inspector._frame()["heard"]))

    day.inspector._heard({"do": "edit", "key": "", "message": 7})

    assert drawn == [0]
    assert day.inspector.frame["heard"] == 7


def test_nonsense_from_the_page_is_an_answer_and_no_traceback(day: Shop) -> None:
    for wish in (
        {"do": "show", "table": "nothing", "search": "", "page": 1},
        {"do": "show", "table": "service", "search": "", "page": -1},
        {"do": "edit", "table": "service", "key": "zz", "was": "", "fields": {}},
        {"do": "delete", "table": "service", "key": "00", "was": ""},
        {"do": "delete"},
    ):
        day.inspector._heard(dict(wish))
        assert not day.inspector.frame["answer"]["ok"], wish
    day.inspector._heard("no dict")
    day.inspector._heard({"do": "fly"})


def test_ten_thousand_rows_are_one_page_each_and_found_by_name_address_and_id(day: Shop) -> None:
    look = day.inspector
    many = km.Service("many.shop", "10.96.1.1", {80: 8080})
    addresses = [f"10.245.{i // 250}.{i % 250 + 1}" for i in range(10_000)]
    pods = [km.Workload(f"w-{i}", address, node="n9", locality="x/y") for i, address in enumerate(addresses)]
    day.lab.apply(many, pods)
    look.refresh()
    look.show("backend", page=2)
    assert (look.frame["found"], look.frame["pages"], look.frame["page"], len(look.frame["rows"])) == (
        10_003,
        201,
        2,
        50,
    )
    assert len(str(look.frame)) < 60_000

    look.show("backend", "10.245.3.77")
    assert [row[0] for row in cells(look)] == ["w-826"]
    look.show("backend", str(day.n1.maps.id_of("w-5000")))
    assert [row[0] for row in cells(look)] == ["w-5000"]
    look.show("endpoint", "w-9999")
    assert cells(look)[0][3] == "w-9999"
    look.show("backend", "w-1", page=99)
    assert look.frame["page"] == look.frame["pages"] == 23


def test_live_shows_a_change_and_ends_with_the_lab(day: Shop) -> None:
    look = day.inspector
    look.show("service")
    look.start()
    begin = time.monotonic()
    day.lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 8080}), [day.near, day.far])
    while cells(look)[0][1] != "RANDOM":
        time.sleep(0.005)
        assert time.monotonic() - begin < 5

    day.lab.close()
    while look.frame["live"]:
        time.sleep(0.01)
        assert time.monotonic() - begin < 5
    assert look.frame["state"].startswith("The lab is closed")
    assert cells(look)[0][0] == "inventory.shop"
    assert "The lab is closed" in look.html()
    with pytest.raises(km.LabError, match="this lab is closed"):
        look.delete("service", day.inventory)
    with pytest.raises(km.LabError, match="this lab is closed"):
        MapInspector(day.n1)


def test_only_one_inspector_of_a_node_is_live(day: Shop) -> None:
    def live() -> int:
        return sum("MapInspector" in thread.name for thread in threading.enumerate())

    assert live() == 0
    second = MapInspector(day.n1)
    day.inspector._heard({"do": "open"})
    second._heard({"do": "open"})
    assert live() == 1
    assert (day.inspector.frame["live"], second.frame["live"]) == (False, True)
    assert day.inspector.frame["state"] == "Paused: another MapInspector of n1 is live now."
    second.close()
    assert live() == 0
    with pytest.raises(km.LabError, match="no repair callback"):
        second.repair()


def test_the_static_form_has_every_map_and_escapes_names(day: Shop) -> None:
    bad = km.Workload(EVIL, "10.244.9.9", node="n9", locality="<b>")
    day.lab.apply(day.inventory, [day.near, bad])
    html = MapInspector(day.n1).html()

    assert "<img" not in html
    assert "<script" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 3
    for table in ("frontend", "service", "endpoint", "backend", "manage"):
        assert f"km_{table} on n1" in html
    assert "<code>0a60000a 00×12</code>" in html
    assert str(day.shop.netns_cookie) not in html  # another one at every run


NOTEBOOK = """
import kmesh_lab as km
from kmesh_lab.widgets.map_inspector import MapInspector
lab = km.Lab()
n1 = lab.node("n1", "cn-west/xian/a")
near = lab.pod("inventory-a", n1, listen=8080)
lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 8080}), [near])
inspector = MapInspector(n1)
inspector
"""


def test_a_notebook_without_a_browser_ends_and_keeps_the_rows() -> None:
    sources = (NOTEBOOK, "inspector.start()", "lab.close()")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])

    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()

    shown = notebook.cells[0].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "inventory.shop" in shown["text/html"]
    assert shown["text/plain"] == "<MapInspector n1: frontend 2, service 1, endpoint 1, backend 1, manage 2 rows>"
    assert "left behind: nothing" in notebook.cells[2].outputs[0].data["text/plain"]
