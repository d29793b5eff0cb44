"""The mesh as pure values: what is in it, where it runs, and which number the maps know it by.

Standard library only, so everything here can be read and tested without root::

    model      Service, Workload, LoadBalancing, Policy
    locality   Locality, Place, Scope, priority, explain_priority
    identity   IdTable, fnv1a_32
    _checks    what Kmesh can store and find again
"""

from kmesh_lab.mesh._checks import LABEL
from kmesh_lab.mesh.identity import IdTable, fnv1a_32
from kmesh_lab.mesh.locality import (
    DEFAULT_CLUSTER,
    MAX_SCOPES,
    Locality,
    Place,
    Scope,
    ScopeMatch,
    explain_priority,
    priority,
)
from kmesh_lab.mesh.model import (
    MAX_PORTS,
    WAYPOINT_PORT,
    WAYPOINT_TARGET_PORT,
    IPAddress,
    LoadBalancing,
    Policy,
    Service,
    Workload,
    stored_ports,
)

__all__ = [
    "DEFAULT_CLUSTER",
    "LABEL",
    "MAX_PORTS",
    "MAX_SCOPES",
    "WAYPOINT_PORT",
    "WAYPOINT_TARGET_PORT",
    "IPAddress",
    "IdTable",
    "LoadBalancing",
    "Locality",
    "Place",
    "Policy",
    "Scope",
    "ScopeMatch",
    "Service",
    "Workload",
    "explain_priority",
    "fnv1a_32",
    "priority",
    "stored_ports",
]
