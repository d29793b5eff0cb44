"""DecisionPath without a browser: the way it draws, the rows and the C beside each step, and its static form."""

from __future__ import annotations

import ctypes
import json
import time
from ipaddress import ip_address

import nbformat
import pytest
from nbclient import NotebookClient

import kmesh_lab as km
from kmesh_lab.datapath.decision import Decision, Location, Step
from kmesh_lab.kernel.maps import Layout
from kmesh_lab.widgets.decision_path import DecisionPath
from kmesh_lab.widgets.decision_rows import looked_up
from kmesh_lab.widgets.decision_stations import visits
from tests.lab.conftest import Shop, open_shop

VIP, POD, PROXY = ((ip_address(ip), port) for ip, port in (("10.96.0.10", 80), ("10.244.1.2", 8080), ("10.96.0.1", 53)))
HOSTILE = "<img src=x onerror=alert(1)>"


def step(kind, *, ret=0, id=0, found=0, address=None, location=None, name=lambda number: f"name-{number}"):
    return Step(kind, 0, 1, ret, id, found, 0, 1, address, location, name)


def labels(view):
    return [each["label"] for each in view.frame["steps"]]


def taken(view, label):
    return [b["text"] for s in view.frame["steps"] if s["label"] == label for b in s["branches"] if b["taken"]]


def not_taken(view, label):
    return [b["text"] for s in view.frame["steps"] if s["label"] == label for b in s["branches"] if not b["taken"]]


def path(*steps):
    return DecisionPath(Decision(steps))


TO_SERVICE = (step("CONNECT", address=VIP), step("FRONTEND", found=7))


# ---- which way was taken


def test_a_service_leads_over_endpoint_backend_and_dnat_to_a_new_destination():
    view = path(
        *TO_SERVICE,
        step("SERVICE", id=7, found=2),
        step("ENDPOINT", id=7, found=9),
        step("BACKEND", id=9),
        step("DNAT", address=POD),
        step("VERDICT", address=POD),
    )

    assert [each["column"] for each in view.frame["steps"]] == [0, 1, 2, 3, 4, 5, 6]
    assert taken(view, "service") == ["FAILOVER"]
    assert "STRICT" in not_taken(view, "service")
    assert "no service: would be a pod" in not_taken(view, "service")
    assert "waypoint: none" in not_taken(view, "service")
    assert taken(view, "backend") == ["on to dnat"]
    assert taken(view, "verdict") == ["rewritten"]
    assert repr(view).startswith("<DecisionPath 10.96.0.10:80 → 10.244.1.2:8080, 7 steps: connect → frontend → service")


def test_a_pod_that_is_asked_for_directly_is_no_service_and_keeps_its_address():
    missing = step("SERVICE", ret=-2, id=9)
    view = path(
        step("CONNECT", address=POD),
        step("FRONTEND", found=9),
        missing,
        step("BACKEND", id=9),
        step("VERDICT", address=POD),
    )

    assert taken(view, "service") == ["no service: a pod"]
    assert taken(view, "backend") == ["address stays"]
    assert taken(view, "verdict") == ["unchanged"]
    assert view.frame["steps"][2]["ret"] == "-ENOENT"
    assert view.frame["steps"][2]["row"]["value"] == "no row"


def test_a_waypoint_leaves_the_main_line_and_the_program_runs_again():
    view = path(
        *TO_SERVICE,
        step("SERVICE", id=7, found=2),
        step("WAYPOINT", address=VIP),
        step("VERDICT", address=PROXY),
        step("TAIL_CALL"),
        step("CONNECT", address=PROXY),
        step("FRONTEND", ret=-2),
        step("VERDICT", ret=-2, address=PROXY),
        step("ESTABLISHED", found=2),
        step("TLV", id=16, address=VIP),
    )

    assert taken(view, "service") == ["waypoint first"]
    assert "FAILOVER" in not_taken(view, "service")
    assert [(each["group"], each["lane"]) for each in view.frame["steps"]] == [
        *[(0, "main")] * 3,
        (0, "side"),
        (0, "main"),
        (1, "entry"),
        *[(1, "main")] * 3,
        *[(2, "later")] * 2,
    ]
    assert taken(view, "verdict") == ["rewritten", "runs again", "unchanged"]
    assert [group["kind"] for group in view.frame["groups"]] == ["pass", "pass", "later"]


@pytest.mark.parametrize(
    ("exit_step", "branch", "label"),
    [
        (step("NOT_MANAGED"), "not in the mesh", "not managed"),
        (step("NOT_TCP", id=17), "not TCP", "not tcp"),
        (step("DNS", address=PROXY), "DNS query", "dns"),
        (step("CONTROL", found=1), "control address", "control"),
    ],
)
def test_what_is_not_for_the_managers_leaves_after_connect(exit_step, branch, label):
    view = path(step("CONNECT", address=VIP), exit_step)

    assert labels(view) == ["connect", label]
    assert taken(view, "connect") == [branch]
    assert (view.frame["steps"][1]["lane"], view.frame["steps"][1]["column"]) == ("side", 1)


def test_dns_without_a_proxy_stays():
    view = path(step("CONNECT", address=VIP), step("DNS", ret=-2))

    assert (taken(view, "connect"), taken(view, "dns")) == (["DNS query"], ["no DNS proxy"])
    assert view.frame["steps"][1]["row"]["value"] == "no row"


def test_strict_with_nobody_local_picks_nobody():
    view = path(*TO_SERVICE, step("SERVICE", id=7, found=1), step("VERDICT", ret=-2, address=VIP))

    assert taken(view, "service") == ["STRICT", "nobody to pick"]
    assert "a manager gave up" in view.frame["steps"][3]["row"]["note"]
    assert taken(view, "verdict") == ["unchanged"]


def test_two_queries_of_one_udp_socket_are_two_passes():
    view = path(step("DNS", address=PROXY), step("DNS", address=PROXY))

    assert [each["group"] for each in view.frame["steps"]] == [0, 1]


def test_an_unknown_step_is_shown_too():
    view = path(step("CONNECT", address=VIP), step("SOMETHING_NEW"))

    assert labels(view) == ["connect", "something new"]


# ---- the rows


def test_row_of_gives_the_bytes_of_a_step_or_none_when_the_row_is_gone():
    rows = {"FRONTEND": (b"\x0a\x60\x00\x0a" + bytes(12), b"\x07\0\0\0")}

    view = DecisionPath(Decision((*TO_SERVICE, step("SERVICE", id=7))), row_of=lambda each: rows.get(each.kind))

    frontend, service = view.frame["steps"][1]["row"], view.frame["steps"][2]["row"]
    assert frontend["bytes"] == [["key", "", "0a 60 00 0a", 12], ["value", "", "07 00 00 00", 0]]
    assert (frontend["map"], frontend["key"]) == ("km_frontend", "10.96.0.10, the address asked for")
    assert "bytes" not in service
    assert service["note"] == "The row is gone since."


def test_padding_belongs_to_no_field_of_a_row():
    class Padded(ctypes.Structure):
        _fields_ = [("flag", ctypes.c_uint8), ("__pad_1", ctypes.c_char * 3), ("number", ctypes.c_uint32)]

    frontend = list(visits(TO_SERVICE))[1]
    row = looked_up(
        frontend, lambda each: (b"\1\0\0\0\2\0\0\0", b""), {"km_frontend": (Layout(Padded), Layout(ctypes.c_uint32))}
    )

    assert row["bytes"][:2] == [["key", "flag", "01", 0], ["key", "number", "02 00 00 00", 0]]


def test_a_bare_decision_says_nothing_about_bytes():
    row = path(*TO_SERVICE).frame["steps"][1]["row"]

    assert "bytes" not in row
    assert row["note"] == ""


# ---- bad input, and none


def test_names_are_escaped_in_the_static_form():
    view = path(step("CONNECT", address=VIP), step("FRONTEND", found=7, name=lambda number: HOSTILE))

    assert "<img" not in view.html()
    assert "&lt;img src=x onerror=alert(1)&gt;" in view.html()
    assert "<style" not in view.html()
    assert "<script" not in view.html()


def test_no_steps_are_said_to_be_none():
    view = path()

    assert repr(view) == "<DecisionPath: no program reported a step>"
    assert "No program reported a step" in view.html()


def test_what_is_no_connection_is_refused():
    with pytest.raises(ValueError, match="the way of 'shop'\\? expected a connection or its decision"):
        DecisionPath("shop")


def test_a_step_whose_source_is_not_there_has_no_lines():
    at = Location("include/no_such.h", 3, "nobody")

    assert path(step("CONNECT", address=VIP, location=at)).frame["steps"][0]["source"] is None


def test_sixty_steps_are_shown_and_the_rest_is_counted():
    view = path(*[step("DNS", address=PROXY)] * 75)

    assert (len(view.frame["steps"]), view.frame["left_out"]) == (60, 15)
    assert [each["group"] for each in view.frame["steps"]] == list(range(60))
    assert "15 later steps of this socket not shown" in view.html()


# ---- on the real kernel


@pytest.fixture(scope="module")
def shop():
    with km.Lab() as lab:
        yield open_shop(lab)


@pytest.mark.root
def test_every_step_of_a_real_connection_has_its_row_and_its_c(shop: Shop):
    view = DecisionPath(shop.shop.connect(shop.inventory, 80))

    assert labels(view)[:7] == ["connect", "frontend", "service", "endpoint", "backend", "dnat", "verdict"]
    for each in view.frame["steps"]:
        source = each["source"]
        assert len(source["lines"]) <= 15
        assert "trace_" in source["lines"][source["line"] - source["first"]]
    service = view.frame["steps"][2]["row"]
    assert service["value"] == "lb_policy 2, FAILOVER"
    assert ["value", "lb_policy", "02 00 00 00", 0] in service["bytes"]
    assert ["value", "service_port", "00 50 00 00", 36] in service["bytes"]
    assert ["key", "addr", "0a 60 00 0a", 12] in view.frame["steps"][1]["row"]["bytes"]
    assert len(json.dumps(view.frame)) < 30_000


@pytest.mark.root
def test_the_static_form_has_the_stations_the_ways_not_taken_the_rows_and_the_c(shop: Shop):
    html = DecisionPath(shop.shop.connect(shop.inventory, 80)).html()

    for said in (
        "shop asks for 10.96.0.10:80 and goes to inventory-a 10.244.1.2:8080",
        "km_service: service_id",
        "RANDOM, STRICT",
        "value service_port: 00 50 00 00 + 36 zero bytes",
        "bpf/include/backend.h",
        "svc_dnat()",
        "trace_address(kctx-&gt;cookie, KL_DNAT",
    ):
        assert said in html
    assert len(html) < 30_000


@pytest.mark.root
def test_a_row_that_was_deleted_after_the_connect_is_said_to_be_gone(shop: Shop):
    connection = shop.shop.connect(shop.inventory, 80)
    del shop.n1.maps.endpoint[(shop.inventory, 0, 1)]

    rows = [each["row"] for each in DecisionPath(connection).frame["steps"]]
    shop.lab.apply(shop.inventory, endpoints=[shop.near, shop.far])

    assert rows[3]["note"] == "The row is gone since."
    assert rows[2]["bytes"]


@pytest.mark.root
def test_a_connect_that_failed_has_a_decision_to_walk_too(shop: Shop):
    with pytest.raises(OSError, match="EHOSTUNREACH") as failure:
        shop.shop.connect(shop.inventory, 81)

    view = DecisionPath(failure.value.decision)

    assert taken(view, "dnat") == ["no such port"]
    assert taken(view, "verdict") == ["unchanged"]
    assert "keeps that destination" in view.html()


@pytest.mark.root
def test_after_the_lab_is_closed_the_way_is_still_there_without_the_bytes():
    with km.Lab() as lab:
        connection = open_shop(lab).shop.connect("inventory.shop", 80)
        before = connection.decision
    view = DecisionPath(before)

    assert labels(view)[:2] == ["connect", "frontend"]
    assert view.frame["steps"][2]["source"]["function"] == "service_manager"


@pytest.mark.root
def test_without_a_browser_the_static_form_is_in_the_output_and_nothing_waits():
    cells = [
        "import kmesh_lab as km\nfrom kmesh_lab.widgets.decision_path import DecisionPath\n"
        "from tests.lab.conftest import open_shop\nlab = km.Lab()\nshop = open_shop(lab)",
        "DecisionPath(shop.shop.connect(shop.inventory, 80))",
        "lab.close()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    started = time.monotonic()

    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()

    data = notebook.cells[1].outputs[0]["data"]
    assert time.monotonic() - started < 40
    assert "service_manager()" in data["text/html"]
    assert data["text/plain"].startswith("<DecisionPath 10.96.0.10:80 → 10.244.1.2:8080")
    assert "left behind: nothing" in notebook.cells[2].outputs[0]["data"]["text/plain"]
