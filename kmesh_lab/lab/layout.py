"""Where things are in the picture of a lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kmesh_lab.lab.node import Node

__all__ = ["MARGIN", "SERVICE_HEIGHT", "WIDTH", "Box", "between", "node_boxes", "service_boxes"]

WIDTH, MARGIN, SERVICE_HEIGHT = 760, 16, 50
_GAP, _POD_WIDTH, _POD_HEIGHT, _POD_GAP = 24, 150, 48, 12
_NODE_HEAD, _SAG = 34, 26
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
    across = max(1, int((width - _POD_GAP) // (_POD_WIDTH + _POD_GAP)))
    for start in range(0, len(nodes), columns):
        row = nodes[start : start + columns]
        deep = max(-(-len(node.pods) // across) for node in row)
        height = _NODE_HEAD + deep * (_POD_HEIGHT + _POD_GAP) + _SAG - _POD_GAP
        for number, node in enumerate(row):
            x = MARGIN + number * (width + _GAP)
            boxes.append(Box(x, top, width, height))
            for place, name in enumerate(node.pods):
                left = x + _POD_GAP + place % across * (_POD_WIDTH + _POD_GAP)
                down = top + _NODE_HEAD + place // across * (_POD_HEIGHT + _POD_GAP)
                pods[name] = Box(left, down, _POD_WIDTH, _POD_HEIGHT)
        top += height + _GAP
    return boxes, pods


def between(client: Box, end: Box) -> tuple[str, tuple[float, float]]:
    """A curve that leaves the names of both pods free, and where a count can stand beside it."""
    if client.y == end.y:  # side by side: below both
        (x1, y1), (x2, y2) = client.bottom, end.bottom
        bends = f"{x1:.0f} {y1 + _SAG:.0f} {x2:.0f} {y2 + _SAG:.0f}"
        return f"M{x1:.0f} {y1:.0f}C{bends} {x2:.0f} {y2:.0f}", ((x1 + x2) / 2 - 8, y1 + 0.75 * _SAG - 4)
    if client.x == end.x:  # one above the other: around the right side
        (x1, y1), (x2, y2) = client.right, end.right
        out = x1 + _SAG
        return f"M{x1:.0f} {y1:.0f}C{out:.0f} {y1:.0f} {out:.0f} {y2:.0f} {x2:.0f} {y2:.0f}", (
            out - 2,
            (y1 + y2) / 2 + 4,
        )
    (x1, y1), (x2, y2) = (client.right, end.left) if client.x < end.x else (client.left, end.right)
    middle = (x1 + x2) / 2
    path = f"M{x1:.0f} {y1:.0f}C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return path, (middle + 6, (y1 + y2) / 2 - 4)
