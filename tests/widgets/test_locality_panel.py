"""LocalityPanel without a browser: what a cell can do with it, and what its picture says."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import kmesh_lab as km
from kmesh_lab.widgets.locality_panel import LocalityPanel
from kmesh_lab.widgets.weak_spots import weak_spots

pytestmark = pytest.mark.root

EVIL = "<img src=x onerror=alert(1)>"


@dataclass
class Shop:
    lab: km.Lab
    shop: km.Pod
    visitor: km.Pod
    near: km.Pod
    far: km.Pod
    inventory: km.Service
    panel: LocalityPanel


@pytest.fixture
def day() -> Iterator[Shop]:
    with km.Lab() as lab:
        n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")
        shop, visitor = lab.pod("shop", n1), lab.pod("visitor", n2)
        near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
        failover = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, failover)
        lab.apply(inventory, [near, far])
        yield Shop(lab, shop, visitor, near, far, inventory, LocalityPanel(lab, inventory, [shop, visitor]))


def test_a_prediction_comes_before_the_run(day: Shop) -> None:
    with pytest.raises(km.LabError, match="predict first"):
        day.panel.run(100)

    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})
    run = day.panel.run(500)

    assert (run.counts, run.refused, run.total) == ({"inventory-a": 500}, {}, 500)
    assert (run.verdict, run.level) == ("Your prediction was right.", 0)
    assert run.priorities == {"inventory-a": 0, "inventory-b": 1}
    assert day.panel.result is run
    assert repr(run) == "<LocalityRun 500 from shop: inventory-a 500, inventory-b 0>"


def test_the_same_connects_from_another_node_go_elsewhere(day: Shop) -> None:
    day.panel.set(client=day.visitor)
    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})

    run = day.panel.run(100)

    assert run.counts == {"inventory-b": 100}
    assert run.verdict == (
        "Not as predicted. inventory-a: you said all, it was 0; inventory-b: you said none, it was 100."
    )
    assert run.priorities == {"inventory-a": 1, "inventory-b": 0}


def test_failover_leaves_the_level_when_its_last_endpoint_is_out(day: Shop) -> None:
    day.panel.set(healthy={"inventory-a": False})
    day.panel.predict({"inventory-a": "none", "inventory-b": "all"})

    run = day.panel.run(100)

    assert (run.counts, run.level) == ({"inventory-b": 100}, 1)
    assert "The program on n1 reported priority 1." in run.why
    assert day.panel.frame["endpoints"][0]["priority"] is None


def test_strict_with_nobody_local_is_not_blocked_but_goes_to_the_vip(day: Shop) -> None:
    day.panel.set(policy="STRICT", preference=["NODE"], healthy={"inventory-a": False})
    day.panel.predict({"inventory-a": "none", "inventory-b": "none"})

    run = day.panel.run(100)

    assert (run.counts, run.refused) == ({}, {"EHOSTUNREACH": 100})
    assert run.verdict == "Your prediction was right."
    assert "the mesh blocked nothing" in run.why[-1]
    assert "10.96.0.10:80" in run.why[-1]
    assert run.story == "connect(2) goes on to 10.96.0.10:80, because a manager returned -ENOENT"


def test_random_ignores_the_preference_and_a_number_may_be_off_by_chance(day: Shop) -> None:
    day.panel.set(policy="RANDOM")
    day.panel.predict({"inventory-a": 250, "inventory-b": 250})

    run = day.panel.run(500)

    assert set(run.counts) == {"inventory-a", "inventory-b"}
    assert run.verdict == "Your prediction was right."


def test_nothing_is_published_before_the_run_and_restore_puts_it_back(day: Shop) -> None:
    row = day.shop.node.maps.service[day.inventory]
    day.panel.set(policy="STRICT", preference=["NODE", "ZONE"])
    assert day.shop.node.maps.service[day.inventory] == row

    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})
    day.panel.run(10)
    assert day.shop.node.maps.service[day.inventory].policy_name == "STRICT"
    assert day.panel.frame["changed"]
    assert day.panel.frame["published"] == "STRICT by NODE, ZONE"

    day.panel.restore()
    assert day.shop.node.maps.service[day.inventory] == row
    assert not day.panel.frame["changed"]


def test_a_change_elsewhere_is_taken_over_and_said(day: Shop) -> None:
    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})
    day.lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 8080}), [day.far])

    with pytest.raises(km.LabError, match="predict first"):
        day.panel.run(10)

    assert day.panel.frame["policy"] == "RANDOM"
    assert [each["name"] for each in day.panel.frame["endpoints"]] == ["inventory-b"]
    assert day.panel.frame["note"].startswith("The service was changed outside the panel")


def test_a_new_setting_needs_a_new_prediction_and_keeps_the_last_run(day: Shop) -> None:
    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})
    day.panel.run(10)
    day.panel.set(policy="RANDOM")

    assert (day.panel.result, day.panel.frame["phase"]) == (None, "predict")
    summary = "10 from shop: inventory-a 10, inventory-b 0"
    assert day.panel.frame["history"] == [["FAILOVER by REGION, ZONE, SUBZONE", summary]]


@pytest.mark.parametrize(
    ("guesses", "message"),
    [
        ({"inventory-a": "all"}, "predict inventory-b too: none, some, all or a number of connects"),
        ({"inventory-a": "all", "inventory-b": "all"}, "all connects cannot reach two endpoints at once"),
        ({"inventory-a": "all", "inventory-b": "some"}, "if all connects reach one endpoint, the others get none"),
        ({"inventory-a": "most", "inventory-b": "none"}, "prediction 'most' for inventory-a: expected none, some, all"),
        ({"inventory-a": -1, "inventory-b": "none"}, "prediction -1 for inventory-a"),
        ({"inventory-c": "none"}, "no endpoint 'inventory-c': there is inventory-a, inventory-b"),
    ],
)
def test_a_prediction_that_cannot_be_meant_is_refused(day: Shop, guesses: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        day.panel.predict(guesses)


def test_wrong_settings_are_refused_and_change_nothing(day: Shop) -> None:
    before = day.panel.frame
    for wrong in (
        {"policy": "FAILVOER"},
        {"preference": ["REGION", "REGION"]},
        {"healthy": {"nobody": True}},
        {"client": "nobody"},
    ):
        with pytest.raises(ValueError, match=r"expected|twice|there is"):
            day.panel.set(**wrong)
    assert day.panel.frame == before
    with pytest.raises(ValueError, match="count 5000"):
        day.panel.run(5000)
    with pytest.raises(km.LabError, match="needs clients"):
        LocalityPanel(day.lab, day.inventory, [])
    with pytest.raises(km.LabError, match="is not published"):
        LocalityPanel(day.lab, km.Service("other", "10.96.0.11", [80]), [day.shop])


def test_what_the_page_sends_wrong_is_an_error_on_the_page(day: Shop) -> None:
    day.panel._heard({"do": "set", "policy": "X", "message": 1})
    assert day.panel.frame["error"] == "unknown policy 'X': expected RANDOM, STRICT or FAILOVER"
    day.panel._heard({"do": "set", "colour": "red", "message": 2})
    assert "colour" in day.panel.frame["error"]
    day.panel._heard({"do": "run", "count": 100, "message": 3})
    assert day.panel.frame["error"].startswith("predict first")
    assert day.panel.frame["heard"] == 3


def test_a_killed_client_and_a_closed_lab_are_said(day: Shop) -> None:
    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})
    os.kill(day.shop.pid, signal.SIGKILL)
    while day.shop.alive:
        time.sleep(0.01)
    with pytest.raises(km.PodGone):
        day.panel.run(10)
    assert day.panel.frame["state"].startswith("The process of shop has ended")
    assert day.panel.frame["phase"] in ("ready", "done")

    day.lab.close()
    with pytest.raises(km.LabError, match="this lab is closed"):
        day.panel.run(10)
    day.panel._draw()
    assert day.panel.frame["state"].startswith("The lab is closed")
    assert [endpoint["trouble"] for endpoint in day.panel.frame["endpoints"]] == ["", ""]
    assert "The lab is closed" in day.panel.html()


def test_an_endpoint_without_a_pod_does_not_freeze_the_panel(day: Shop) -> None:
    ghost = km.Workload("ghost", "10.244.9.9", node="n9", locality="cn-west/xian/a")
    day.lab.apply(replace_policy(day.inventory), [day.near, ghost])
    panel = LocalityPanel(day.lab, day.inventory, [day.shop])
    panel.predict({"inventory-a": "some", "ghost": "none"})

    begin = time.monotonic()
    run = panel.run(1000)

    assert time.monotonic() - begin < 5
    assert run.total == 20
    assert panel.frame["note"] == "ghost has no pod, so a connect to it waits: only 20 connects are made."


def replace_policy(service: km.Service) -> km.Service:
    return km.Service(service.name, service.vips, dict(service.ports))


def test_the_static_form_says_the_same_and_escapes_names(day: Shop) -> None:
    ghost = km.Workload(EVIL, "10.244.9.9", node=EVIL, locality="<b>/x")
    day.lab.apply(day.inventory, [day.near, day.far, ghost])
    panel = LocalityPanel(day.lab, day.inventory, [day.shop])
    panel.set(healthy={EVIL: False})
    panel.predict({"inventory-a": "all", "inventory-b": "none", EVIL: "none"})
    panel.run(100)

    html = panel.html()

    assert "<img" not in html
    assert "<b>" not in html
    assert "<script" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    for part in ("100", "0 (chosen): REGION equal, ZONE equal, SUBZONE equal", "SUBZONE differs", "no row: out"):
        assert part in html
    assert "Your prediction was right." in html


def test_500_connects_take_less_than_a_second_and_a_half(day: Shop) -> None:
    day.panel.predict({"inventory-a": "all", "inventory-b": "none"})
    begin = time.monotonic()
    day.panel.run(500)
    assert time.monotonic() - begin < 1.5


def test_only_a_page_starts_a_thread_and_only_one(day: Shop) -> None:
    def watching() -> int:
        return sum("LocalityPanel" in thread.name for thread in threading.enumerate())

    assert watching() == 0
    again = LocalityPanel(day.lab, day.inventory, [day.shop])
    for panel in (day.panel, again, again):
        panel._heard({"do": "open"})
    assert watching() == 1
    again.close()
    assert watching() == 0


NOTEBOOK = """
import kmesh_lab as km
from kmesh_lab.widgets.locality_panel import LocalityPanel
from kmesh_lab.widgets.weak_spots import weak_spots
lab = km.Lab()
n1 = lab.node("n1", "cn-west/xian/a")
shop, near = lab.pod("shop", n1), lab.pod("inventory-a", n1, listen=8080)
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
lab.apply(inventory, [near])
panel = LocalityPanel(lab, inventory, [shop])
panel.predict({"inventory-a": "all"})
panel.run(500)
panel
"""


def test_a_notebook_without_a_browser_ends_and_keeps_the_last_run() -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (NOTEBOOK, "lab.close()")]
    notebook = nbformat.v4.new_notebook(cells=cells)

    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()

    shown = notebook.cells[0].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "Your prediction was right." in shown["text/html"]
    assert shown["text/plain"].startswith("<LocalityPanel shop → inventory.shop, RANDOM: 500 from shop")
    assert "left behind: nothing" in notebook.cells[1].outputs[0].data["text/plain"]


def test_a_workload_taken_out_stays_itself(day: Shop) -> None:
    assert replace(day.near.workload, healthy=False).uid == day.near.workload.uid


def test_what_a_learner_predicted_wrongly_on_the_page_is_remembered_and_what_a_cell_predicts_is_not(
    day: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    wrong = {"inventory-a": "some", "inventory-b": "some"}
    day.panel.predict(wrong)
    day.panel.run(100)
    assert list(weak_spots) == []

    day.panel._heard({"do": "commit", "guesses": wrong, "message": 1})
    day.panel._heard({"do": "run", "count": 100, "message": 2})

    (spot,) = weak_spots
    assert spot.question.startswith("Where do the connects of shop go? ")
    assert (spot.said, spot.so) == ("inventory-a some, inventory-b some", "inventory-a 100")
