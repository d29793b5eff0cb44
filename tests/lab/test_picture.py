"""The picture of a lab: a line shows what is connected to what, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, product

import pytest

import kmesh_lab as km
from kmesh_lab.lab import Picture, Way

pytestmark = pytest.mark.root

Point = tuple[float, float]
Area = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def crowded() -> Iterator[km.Lab]:
    """Two rows of nodes, two rows of pods in one of them, and a service behind a waypoint."""
    with km.Lab() as lab:
        n1, *rest = [lab.node(f"n{i}", f"cn-{i}/xian/a") for i in range(1, 5)]
        pods = [lab.pod("shop", n1), *(lab.pod(f"inventory-{i}", node) for i, node in enumerate([n1, *rest], 1))]
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, pods[1:], waypoint=lab.waypoint("waypoint", rest[1]))
        yield lab


def shapes(picture: Picture, part: str) -> dict[str, dict[str, str]]:
    """The attributes of each shape that shows such a part, by its key."""
    return {each.key: dict(each.attributes) for each in picture.shape.content if each.part.split(" ")[0] == part}


def area(at: dict[str, str]) -> Area:
    return float(at["x"]), float(at["y"]), float(at["x"]) + float(at["width"]), float(at["y"]) + float(at["height"])


def boxes(picture: Picture) -> dict[str, Area]:
    return {name: area(at) for part in ("pod", "waypoint") for name, at in shapes(picture, part).items()}


def points(path: str) -> list[Point]:
    """Many points of a path, in order."""
    found: list[Point] = []
    for command, text in re.findall(r"([MCQVH])([^MCQVH]*)", path):
        numbers = [float(each) for each in text.split()]
        x, y = found[-1] if found else (0.0, 0.0)
        numbers = {"V": [x, *numbers], "H": [*numbers, y]}.get(command, numbers)
        ends = [(x, y), *zip(numbers[::2], numbers[1::2], strict=True)]
        found += [ends[1]] if command == "M" else [bezier(ends, step / 50) for step in range(1, 51)]
    return found


def bezier(ends: list[Point], t: float) -> Point:
    while len(ends) > 1:
        ends = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for a, b in pairwise(ends)]
    return ends[0]


def crossed(path: str, areas: dict[str, Area]) -> set[str]:
    return {
        name
        for name, (left, top, right, bottom) in areas.items()
        for x, y in points(path)
        if left < x < right and top < y < bottom
    }


def touched(point: Point, areas: dict[str, Area]) -> list[str]:
    return [
        n for n, (left, top, right, bottom) in areas.items() if left <= point[0] <= right and top <= point[1] <= bottom
    ]


def all_ways(lab: km.Lab) -> list[Way]:
    pairs = product([*lab.pods], [*lab.pods])
    return [Way(client, (lab.services["inventory.shop"].vips[0], 80), reached) for client, reached in pairs]


def test_no_line_passes_behind_a_pod_or_through_the_name_of_a_node(crowded: km.Lab) -> None:
    picture = crowded.picture(all_ways(crowded))
    names = {
        name: (left + 12, top, left + 130, bottom)  # where its text is
        for name, (left, top, _, bottom) in ((name, area(at)) for name, at in shapes(picture, "node-name").items())
    }
    lines = {
        key: at["d"]
        for part in ("endpoint", "to-waypoint", "way")
        for key, at in shapes(picture, part).items()
        if "d" in at
    }

    assert len(lines) == 4 + 1 + 6 + 36  # endpoints, the waypoint, who asked, who was connected
    assert {key: found for key, d in lines.items() if (found := crossed(d, boxes(picture) | names))} == {}


def test_every_line_begins_and_ends_at_what_it_connects(crowded: km.Lab) -> None:
    picture = crowded.picture(all_ways(crowded))
    pods, services = boxes(picture), {name: area(at) for name, at in shapes(picture, "service").items()}

    for key, at in shapes(picture, "endpoint").items():
        assert [touched(points(at["d"])[0], services), touched(points(at["d"])[-1], pods)] == [
            [end] for end in key.split()
        ]
    for key, at in shapes(picture, "way").items():
        if key:  # the legend has none
            kind, client, _, *reached = key.split()
            expected = [[client], [reached[0]]] if kind == "taken" else [["inventory.shop"], [client]]
            assert [touched(points(at["d"])[end], pods | services) for end in (0, -1)] == expected, key


def test_a_service_behind_a_waypoint_has_a_line_to_it(crowded: km.Lab) -> None:
    picture = crowded.picture()

    [line] = shapes(picture, "to-waypoint").values()
    assert touched(points(line["d"])[-1], boxes(picture)) == ["waypoint"]
    assert "inventory.shop at 10.96.0.10 through waypoint: inventory-1" in picture.text


def test_the_picture_lets_the_page_show_through(crowded: km.Lab) -> None:
    assert shapes(crowded.picture(), "paper") == {}
    assert {at["fill"] for at in shapes(crowded.picture(), "node").values()} == {"none"}
