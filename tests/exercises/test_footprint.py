"""What maps and Envoys take and know, as lessons show it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmesh_lab as km
from kmesh_lab.exercises import entries, footprint, grow
from kmesh_lab.exercises.footprint import Footprint, Growth, many
from kmesh_lab.traffic.envoy import Memory

FIRST = Footprint(1, {"n1": 8_000_000}, {"shop": Memory(70_000_000, 30_000_000, 15_000_000)})
LAST = Footprint(5001, {"n1": 10_000_000}, {"shop": Memory(400_000_000, 360_000_000, 345_000_000)})


@pytest.fixture(scope="module")
def lab() -> Iterator[km.Lab]:
    with km.Lab() as lab:
        lab.node("n1", "cn-west/xian/a")
        lab.pod("shop", "n1", sidecar="tcp")
        yield lab


@pytest.mark.root
def test_growing_adds_services_to_the_maps_and_to_every_envoy_alike(lab: km.Lab) -> None:
    growth = grow(lab, [1, 30, 20])

    assert [each.services for each in growth.footprints] == [1, 30, 30]
    known = entries(lab)
    assert known["km_service of n1"] == known["km_endpoint of n1"] == known["Envoy of shop"] == 30
    assert known["km_backend of n1"] == 1 + 3  # the shop, and three workloads of ten services each
    assert footprint(lab).envoys["shop"].private > 5_000_000


def test_growth_is_drawn_on_along_straight_lines() -> None:
    growth = Growth([FIRST, LAST])

    assert (growth.map_bytes_per_service, growth.envoy_bytes_per_service) == (400, 66_000)
    assert growth.project(pods=100, services=10_001) == (12_000_000, 100 * 675_000_000)
    assert repr(growth) == "<Growth 1 → 5001: 400 bytes in the maps, 66,000 in each Envoy per service>"


def test_the_chart_says_in_words_and_the_table_in_figures_what_the_lines_show() -> None:
    html = Growth([FIRST, LAST])._repr_html_()

    assert 'aria-label="With 5,001 services one Envoy has 345 MB, the maps of the node 10 MB."' in html
    assert "<tr><th>5,001</th><td>10.0 MB</td><td>345.0 MB</td></tr>" in html


def test_no_two_services_share_an_address_and_no_workload_has_more_services_than_kmesh_holds() -> None:
    services = many(5000)

    assert len({service.vips[0] for service in services}) == 5000
    workloads = [endpoint for endpoints in services.values() for endpoint in endpoints]
    assert len(set(workloads)) == 500
