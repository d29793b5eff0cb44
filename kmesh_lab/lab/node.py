"""A node: a cgroup with the programs and maps of one Kmesh daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmesh_lab.datapath.datapath import Datapath, Lost
from kmesh_lab.datapath.publisher import Publisher
from kmesh_lab.datapath.views import MapViews
from kmesh_lab.display import counted, html_table, one_line
from kmesh_lab.lab.addresses import check_flag
from kmesh_lab.mesh import Place

if TYPE_CHECKING:
    from kmesh_lab.lab.lab import Lab
    from kmesh_lab.lab.pod import Pod

__all__ = ["Node"]


class Node:
    """A machine of the cluster, played by a cgroup; `kmesh_lab.Lab.node` makes one.

    ``name``, ``place`` (locality, cluster and network), ``maps`` (the km_* maps in human terms), ``pods``.
    """

    def __init__(self, lab: Lab, name: str, number: int, place: Place, datapath: Datapath) -> None:
        self.lab, self.name, self.number, self.place = lab, name, number, place
        self.datapath = datapath
        self.pods: dict[str, Pod] = {}

    @property
    def maps(self) -> MapViews:
        """The maps of this node: ``node.maps.service[inventory]``."""
        self.lab.require_open()
        return self.datapath.views

    @property
    def publisher(self) -> Publisher:
        """The control plane of this node."""
        return self.datapath.publisher

    @property
    def lost(self) -> Lost:
        """Ring buffer records that were dropped because nobody read them in time."""
        self.lab.require_open()
        return self.datapath.lost()

    def configure(self, *, monitoring: bool = True, periodic_report: bool = False) -> None:
        """Set what ``kmeshctl monitoring`` and ``--periodic-report`` set; the defaults are Kmesh's."""
        self.lab.require_open()
        check_flag("monitoring", monitoring)
        check_flag("periodic_report", periodic_report)
        self.datapath.configure(monitoring=monitoring, periodic_report=periodic_report)

    def __repr__(self) -> str:
        where = str(self.place.locality) or "no locality"
        return one_line(f"<Node {self.name} {where}, {counted(len(self.pods), 'pod')}>")

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("locality", str(self.place.locality) or "none"),
            ("pods", ", ".join(self.pods) or "none"),
            ("programs", ", ".join(self.datapath.programs)),
            ("maps", "closed" if self.lab.closed else self.maps),
        ]
        return html_table(f"Node {self.name}", rows)
