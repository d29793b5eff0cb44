"""Kmesh Lab: see, on your own kernel, how a service mesh moves from sidecars into eBPF programs.

    import kmesh_lab as km

    lab = km.Lab()
    n1 = lab.node("n1", locality="cn-west/xian/a")
    shop = lab.pod("shop", node=n1)
    near = lab.pod("inventory-a", node=n1, listen=8080)
    inventory = km.Service("inventory.shop", vip="10.96.0.10", ports={80: 8080})
    lab.apply(inventory, endpoints=[near])
    shop.connect(inventory, 80).decision

Everything a notebook needs is here; docs/architecture.md says what stands behind it.
"""

import sys

if sys.platform == "win32":
    raise ImportError("kmesh_lab needs Linux: on Windows use WSL2 or Docker Desktop, as docs/containers.md says")

from kmesh_lab.comparison import compare
from kmesh_lab.errors import (
    CgroupUnavailable,
    CompileError,
    KernelNotSupported,
    LabError,
    MapFull,
    NotPrivileged,
    PodGone,
    VerifierError,
)
from kmesh_lab.exercises import exercise
from kmesh_lab.lab import Connection, Lab, Node, Pod, Waypoint, check, source
from kmesh_lab.mesh import LoadBalancing, Locality, Service, Workload
from kmesh_lab.prediction import predict

__all__ = [
    "CgroupUnavailable",
    "CompileError",
    "Connection",
    "KernelNotSupported",
    "Lab",
    "LabError",
    "LoadBalancing",
    "Locality",
    "MapFull",
    "Node",
    "NotPrivileged",
    "Pod",
    "PodGone",
    "Service",
    "VerifierError",
    "Waypoint",
    "Workload",
    "check",
    "compare",
    "exercise",
    "predict",
    "source",
]
