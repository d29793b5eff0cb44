"""Three tiers: a line, a table that carries the same, and nothing in it that a browser would run."""

from __future__ import annotations

import re

import pytest

import kmesh_lab as km
from kmesh_lab.display import html_table

pytestmark = pytest.mark.root

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def objects(open_all_day) -> dict[str, object]:
    """One of everything that a cell can end with, and evil text wherever a name is free."""
    day, lab = open_all_day, open_all_day.lab
    node = lab.node("n3", km.Locality(EVIL, EVIL, EVIL), network=EVIL)
    server = lab.pod("evil", node, listen=8080)
    waypoint = lab.waypoint("waypoint", node)
    workload = km.Workload(EVIL, "10.244.9.9", EVIL, km.Locality(EVIL))
    service = km.Service("evil.shop", "10.96.0.66", {80: 8080})
    lab.apply({service: [workload], day.inventory: [server, day.near]}, waypoint=waypoint)
    with lab.events() as events, day.shop.connect(day.inventory) as c:
        c.send(EVIL.encode())
        c.recv()
    lab.apply(service, [workload])
    with pytest.raises(OSError, match="could not connect") as refused:
        day.shop.connect(service, timeout=0.05)
    closed = km.Lab()
    return {
        "Check": km.check(),
        "Connection": c,
        "Connects": day.shop.connect_many(day.inventory, count=3),
        "Decision": c.decision,
        "decision of a failure": refused.value.decision,
        "Events": events,
        "Lab": lab,
        "LoadBalancing": day.inventory.load_balancing,
        "Locality": node.place.locality,
        "maps": node.maps,
        "backend": node.maps.backend,
        "endpoint": node.maps.endpoint,
        "frontend": node.maps.frontend,
        "manage": node.maps.manage,
        "service": node.maps.service,
        "Node": node,
        "Place": node.place,
        "Pod": server,
        "Receipt": closed.close(),
        "Service": service,
        "Waypoint": waypoint,
        "Workload": workload,
    }


def test_every_public_class_is_among_those_that_are_looked_at(objects) -> None:
    classes = {name for name in km.__all__ if isinstance(getattr(km, name), type)}

    assert {name for name in classes if not issubclass(getattr(km, name), Exception)} <= set(objects)


def test_every_repr_is_one_line_of_at_most_100_columns(objects) -> None:
    for name, thing in objects.items():
        text = repr(thing)
        assert text.isprintable(), name
        assert 0 < len(text) <= 100, (name, len(text))


def test_every_object_has_a_table_and_everything_in_it_is_escaped(objects) -> None:
    allowed = re.compile(r'</?(table|caption|thead|tbody|tr|td|th|code)( style="text-align:left")?>')
    shown = 0
    for name, thing in objects.items():
        html = thing._repr_html_()
        assert html.startswith("<table>"), name
        assert html.endswith("</table>"), name
        assert re.findall("[<>]", allowed.sub("", html)) == [], name
        shown += "&lt;img src=x" in html
    assert shown >= 7  # the evil text is there, as text


def test_the_picture_is_escaped_too(objects) -> None:
    picture = objects["Lab"].picture()

    svg = picture._repr_svg_()
    assert "<img" not in svg
    assert "&lt;img src=x" in svg
    assert repr(picture).startswith("Nodes n1 (cn-west/xian/a): shop, inventory-a; ")


@pytest.mark.parametrize("name", [EVIL, "", "Shop", "shop_1", "-shop", "shop.prod", "s" * 64, "a/b", "shöp", 7, None])
def test_such_names_are_refused(lab, refused, name) -> None:
    expected = f"{name!r}: expected a-z, 0-9 and inner '-', at most 63 characters, as in Kubernetes"
    with refused(ValueError, f"node name {expected}"):
        lab.node(name)
    node = lab.node("n1")
    with refused(ValueError, f"pod name {expected}"):
        lab.pod(name, node)
    with refused(ValueError, f"namespace {expected}"):
        lab.pod("shop", node, namespace=name)
    assert (lab.pods, list(lab.nodes)) == ({}, ["n1"])


def test_a_table_escapes_title_header_and_cells() -> None:
    html = html_table(EVIL, [(EVIL, EVIL)], header=(EVIL, EVIL))

    escaped = "&lt;img src=x onerror=alert(1)&gt;"
    assert html == (
        f"<table><caption>{escaped}</caption><tr><th>{escaped}</th><th>{escaped}</th></tr>"
        f"<tr><th>{escaped}</th><td>{escaped}</td></tr></table>"
    )


def test_texts_count_in_plain_words(lab) -> None:
    assert repr(lab) == "<Lab: no nodes, no pods, no services>"
    node = lab.node("n1", "cn-west")
    assert repr(node) == "<Node n1 cn-west, no pods>"
    pod = lab.pod("shop", node)
    assert (repr(node), repr(lab)) == ("<Node n1 cn-west, 1 pod>", "<Lab: 1 node, 1 pod, no services>")
    assert repr(pod) == "<Pod shop 10.244.1.1 cn-west on n1>"
    lab.close()
    assert repr(lab) == "<Lab, closed>"
    assert "<th>maps</th><td>closed</td>" in node._repr_html_()
