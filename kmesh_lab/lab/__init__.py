"""Nodes, pods and services, put together: what a notebook touches.

lab          Lab: the whole, its apply and delete, its end
ground       what a lab has on this machine, and how it is all put away
addresses    the address plan; what a label, a port or a choice may be
control      ControlPlane: the same services and pods on every node, all or nothing
node         Node: a cgroup with the programs and maps of one Kmesh daemon
pod          Pod: a process in its own network namespace
connection   Connection: one real socket of a pod, and what the programs decided about it
sidecar      Sidecar: the Envoy beside a pod
waypoint     Waypoint: a pod that reads the TLV and forwards
gateway      Gateway: the Envoy at the edge
names        what a name or an address means, and what may be called how
interrupts   Ctrl-C, at a moment at which it does no harm
observation  events(), the receipt of close()
story        every connect of the lab, as its programs report it
picture      the lab as an SVG, with the ways of connections; layout, where things are; shape, its elements
machine      check(): can this machine run a lab
listing      source(): the C that was compiled
"""

from kmesh_lab.lab.connection import Connection, Connects
from kmesh_lab.lab.lab import Lab
from kmesh_lab.lab.listing import source
from kmesh_lab.lab.machine import Check, check
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.picture import Picture, Way
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.story import Connect, Story
from kmesh_lab.lab.waypoint import Waypoint

__all__ = [
    "Check",
    "Connect",
    "Connection",
    "Connects",
    "Lab",
    "Node",
    "Picture",
    "Pod",
    "Story",
    "Way",
    "Waypoint",
    "check",
    "source",
]
