"""Where things are in the picture of a lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kmesh_lab.lab.node import Node

__all__ = ["MARGIN", "NAME_HEIGHT", "SERVICE_HEIGHT", "WIDTH", "Box", "between", "down", "node_boxes", "service_boxes"]

WIDTH, MARGIN, SERVICE_HEIGHT = 760, 16, 50
NAME_HEIGHT = 22  # of the strip with a node's name: at its bottom, because lines come from the services above
_GAP, _POD_WIDTH, _POD_HEIGHT = 24, 150, 48
_EDGE, _LANE, _SAG = 12, 22, 24  # inside of a node's border; free for lines: beside and below each pod, below the last
_AWAY, _ROUND = 9, 5  # of a line that runs along a pod; its corners
_PER_ROW = 3  # nodes


@dataclass(frozen=True)
class Box:
    """A rectangle, and the points where lines end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> tuple[float, float]:
        """The middle of that side."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of that side."""
        return self.x + self.width / 2, self.y + self.height

    @property
    def left(self) -> tuple[float, float]:
        """The middle of that side."""
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> tuple[float, float]:
        """The middle of that side."""
        return self.x + self.width, self.y + self.height / 2


def service_boxes(count: int) -> list[Box]:
    """Side by side at the top."""
    width = min(330, (WIDTH - 2 * MARGIN - _GAP * (count - 1)) / max(count, 1))
    left = (WIDTH - count * width - (count - 1) * _GAP) / 2
    return [Box(left + number * (width + _GAP), MARGIN, width, SERVICE_HEIGHT) for number in range(count)]


def node_boxes(nodes: Sequence[Node], top: float) -> tuple[list[Box], dict[str, Box]]:
    """Of the nodes, in rows from ``top`` on, and of their pods by name."""
    boxes: list[Box] = []
    pods: dict[str, Box] = {}
    columns = max(1, min(_PER_ROW, len(nodes)))
    width = (WIDTH - 2 * MARGIN - _GAP * (columns - 1)) / columns
    across = max(1, int((width - 2 * _EDGE + _LANE) // (_POD_WIDTH + _LANE)))
    for start in range(0, len(nodes), columns):
        row = nodes[start : start + columns]
        deep = max(-(-len(node.pods) // across) for node in row)
        height = _EDGE + deep * (_POD_HEIGHT + _LANE) - _LANE + _SAG + NAME_HEIGHT
        for number, node in enumerate(row):
            x = MARGIN + number * (width + _GAP)
            boxes.append(Box(x, top, width, height))
            for place, name in enumerate(node.pods):
                left = x + _EDGE + place % across * (_POD_WIDTH + _LANE)
                below = top + _EDGE + place // across * (_POD_HEIGHT + _LANE)
                pods[name] = Box(left, below, _POD_WIDTH, _POD_HEIGHT)
        top += height + _GAP
    return boxes, pods


# All nodes are divided alike, so a column of pods goes through all rows of nodes, and what is beside it is free.


def down(service: Box, pod: Box, first: float, away: float) -> str:
    """From a service to the top of a pod in the ``first`` row, else ``away`` from the pods above it to its side."""
    x1, y1 = service.bottom
    (x2, y2), side = ((pod.x - away, first), pod.left[1]) if pod.y > first else (pod.top, 0.0)
    middle = (y1 + y2) / 2
    curve = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"
    return f"{curve}V{side - _ROUND:.0f}Q{x2:.0f} {side:.0f} {pod.x:.0f} {side:.0f}" if side else curve


def between(client: Box, end: Box) -> tuple[str, tuple[float, float]]:
    """A line from pod to pod that passes all others, and where a count can stand beside it."""
    (x1, y1), (x2, y2) = client.bottom, end.bottom
    if y1 == y2 and x1 != x2:  # side by side: below both
        bends = f"{x1:.0f} {y1 + _SAG:.0f} {x2:.0f} {y2 + _SAG:.0f}"
        return f"M{x1:.0f} {y1:.0f}C{bends} {x2:.0f} {y2:.0f}", ((x1 + x2) / 2 - 8, y1 + 0.75 * _SAG - 4)
    low, (right, side) = y1 + _AWAY, end.right  # below the client, then up or down on the right of the other
    along, turn = right + _AWAY, _ROUND if right + _AWAY > x1 else -_ROUND
    fall = _ROUND if side > low else -_ROUND
    path = (
        f"M{x1:.0f} {y1:.0f}V{low - _ROUND:.0f}Q{x1:.0f} {low:.0f} {x1 + turn:.0f} {low:.0f}"
        f"H{along - turn:.0f}Q{along:.0f} {low:.0f} {along:.0f} {low + fall:.0f}"
        f"V{side - fall:.0f}Q{along:.0f} {side:.0f} {along - _ROUND:.0f} {side:.0f}H{right:.0f}"
    )
    return path, ((x1 + along) / 2, low + 10)
