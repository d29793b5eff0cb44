"""The examples in docstrings are true: each is run in the shop of the notebooks (those of mesh: tests/mesh).

So is the session that the README shows.
"""

from __future__ import annotations

import doctest
import importlib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kmesh_lab as km
from tests.lab.conftest import Shop, open_shop

pytestmark = pytest.mark.root


def a_node(it: Shop) -> dict[str, Any]:
    key, _ = it.n1.datapath.module.layouts["km_endpoint"]
    return {"node": it.n1, "layout": key, "ipaddress": ipaddress}


def a_visitor(it: Shop) -> dict[str, Any]:
    return {"visitor": it.lab.pod("visitor", it.n2)}


def a_waypoint(it: Shop) -> dict[str, Any]:
    waypoint = it.lab.waypoint("waypoint", it.n1)
    it.lab.apply(it.inventory, endpoints=[it.near, it.far], waypoint=waypoint)
    return {"waypoint": waypoint, "connection": it.shop.connect(it.inventory, 80), "node": it.n1}


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("datapath.rows", a_node),
        ("datapath.sockets", a_waypoint),
        ("datapath.views", a_node),
        ("exercises.instruments", None),
        ("kernel.maps", a_node),
        ("kernel.program", None),
        ("lab.connection", None),
        ("lab.listing", None),
        ("lab.machine", None),
        ("lab.pod", a_waypoint),
        ("traffic.tlv", None),
        ("widgets.locality_panel", a_visitor),
        ("widgets.map_inspector", None),
        ("widgets.topology", None),
    ],
)
def test_the_examples_in_docstrings_are_true(module: str, more: Callable[[Shop], dict[str, Any]] | None) -> None:
    with km.Lab() as lab:
        it = open_shop(lab)
        names = {"km": km, **vars(it), **(more(it) if more else {})}
        results = doctest.testmod(importlib.import_module(f"kmesh_lab.{module}"), extraglobs=names)

    assert results.attempted > 0
    assert results.failed == 0


def test_the_session_in_the_readme_is_a_real_one() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    session = re.search(r"^## Ten lines\n.*?^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert session

    test = doctest.DocTestParser().get_doctest(session[1], {}, "README", "README.md", 0)

    assert doctest.DocTestRunner().run(test) == (0, 10)
