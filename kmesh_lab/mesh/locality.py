"""Where things run, and how near an endpoint is to a client: localities, scopes and priorities.

Every node computes its own priorities: its place is the client, each workload of the mesh is compared with it
scope by scope, and the endpoint is stored under the priority that comes out. 0 is nearest.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, Self

from kmesh_lab.display import choices, html_table, one_line
from kmesh_lab.mesh._checks import is_uid_part

__all__ = [
    "DEFAULT_CLUSTER",
    "MAX_SCOPES",
    "Locality",
    "Place",
    "ProtoEnum",
    "Scope",
    "ScopeMatch",
    "explain_priority",
    "priority",
]

DEFAULT_CLUSTER = "Kubernetes"
"""The cluster id that istiod has when it is given none."""

MAX_SCOPES = 6
"""A km_service record counts its endpoints at seven priorities, 0 to 6 (bpf/kmesh/workload/include/workload.h)."""


class ProtoEnum(enum.IntEnum):
    """An enum of Istio's workload API: written by name in Python, stored as its number in a map."""

    @classmethod
    def of(cls, value: object) -> Self:
        """Return the member that ``value`` is or names.

        A bare number is refused: ``ValueError`` lists the names.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value in cls.__members__:
            return cls[value]
        raise ValueError(f"unknown {cls.__name__.lower()} {value!r}: expected {choices(cls.__members__)}")


class Scope(ProtoEnum):
    """One thing that two places can have in common.

    The numbers are those of LoadBalancing.Scope in Kmesh's api/workloadapi/workload.proto.
    """

    REGION = 1
    ZONE = 2
    SUBZONE = 3
    NODE = 4
    CLUSTER = 5
    NETWORK = 6


@dataclass(frozen=True, slots=True, repr=False)
class Locality:
    """A region, a zone in it and a subzone in that; a part that is absent is ``""``.

    ``Locality()`` is an unknown locality. ``ValueError`` on a part below an absent one, and on one that is no string or
    has a ``/``.

    >>> Locality.parse("cn-west/xian/a").zone
    'xian'
    """

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __post_init__(self) -> None:
        parts = (self.region, self.zone, self.subzone)
        if not all(isinstance(part, str) for part in parts):
            raise ValueError(f"locality {parts}: each part is a string; use Locality.parse('region/zone/subzone')")
        if any("/" in part for part in parts):
            raise ValueError(f"locality {parts} has a '/' inside a part: use Locality.parse('region/zone/subzone')")
        # A hole has no spelling in region/zone/subzone, and "" would then match "" in the middle of a preference.
        if (self.zone and not self.region) or (self.subzone and not self.zone):
            raise ValueError(f"locality {parts} has a hole: a subzone needs a zone, and a zone needs a region")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``region``, ``region/zone`` or ``region/zone/subzone``; anything else is a ``ValueError``."""
        expected = "expected 'region', 'region/zone' or 'region/zone/subzone'"
        if not isinstance(text, str):
            raise ValueError(f"locality {text!r} is not a string: {expected}")
        parts = text.split("/")
        if not all(parts):
            raise ValueError(f"locality {text!r} has an empty part: {expected}")
        if len(parts) > 3:
            raise ValueError(f"locality {text!r} has {len(parts)} parts: {expected}")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.region, self.zone, self.subzone)))

    def __repr__(self) -> str:
        return one_line(f"Locality({', '.join(repr(p) for p in (self.region, self.zone, self.subzone) if p)})")

    def _repr_html_(self) -> str:
        return html_table("Locality", [("region", self.region), ("zone", self.zone), ("subzone", self.subzone)])


_FIELD_OF_SCOPE = {
    Scope.REGION: attrgetter("locality.region"),
    Scope.ZONE: attrgetter("locality.zone"),
    Scope.SUBZONE: attrgetter("locality.subzone"),
    Scope.NODE: attrgetter("node"),
    Scope.CLUSTER: attrgetter("cluster"),
    Scope.NETWORK: attrgetter("network"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """Where a client or a workload runs: everything a `Scope` can compare.

    ``ValueError`` on a cluster that cannot be part of a workload's uid, and on a network that is no string.
    """

    locality: Locality
    node: str
    cluster: str = DEFAULT_CLUSTER
    network: str = ""

    def __post_init__(self) -> None:
        if not is_uid_part(self.cluster):
            raise ValueError(
                f"cluster {self.cluster!r} of node {self.node!r}: expected at least one character and no '/', "
                "which separates the parts of a uid"
            )
        if not isinstance(self.network, str):
            raise ValueError(
                f"network {self.network!r} of node {self.node!r}: expected a name such as 'net-east', or '' for none"
            )

    def value_of(self, scope: Scope) -> str:
        """Return the value this place has for ``scope``; ``""`` when it has none."""
        value: str = _FIELD_OF_SCOPE[scope](self)
        return value

    def __repr__(self) -> str:
        network = f", network {self.network}" if self.network else ""
        where = str(self.locality) or "no locality"
        return one_line(f"<Place {where} on {self.node}, cluster {self.cluster}{network}>")

    def _repr_html_(self) -> str:
        return html_table("Place", [(scope.name, self.value_of(scope)) for scope in Scope])


class ScopeMatch(NamedTuple):
    """One scope of a routing preference, compared.

    ``matched`` is ``None`` when an earlier scope differed, so that this one was never looked at.
    """

    scope: Scope
    client: str
    workload: str
    matched: bool | None

    @property
    def outcome(self) -> str:
        """The comparison in a word or two: ``equal``, ``differs`` or ``not reached``."""
        return {True: "equal", False: "differs", None: "not reached"}[self.matched]

    def __repr__(self) -> str:
        return one_line(f"<ScopeMatch {self.scope.name} {self.client!r} {self.workload!r}: {self.outcome}>")

    def _repr_html_(self) -> str:
        rows = [("client", self.client), ("workload", self.workload), ("outcome", self.outcome)]
        return html_table(f"ScopeMatch {self.scope.name}", rows)


def explain_priority(routing_preference: Sequence[Scope | str], client: Place, workload: Place) -> list[ScopeMatch]:
    """Compare two places scope by scope, in the order of the preference, until one scope differs.

    Values are compared as plain strings, so two absent values are equal
    (Kmesh's pkg/controller/workload/bpfcache/locality_cache.go). ``ValueError`` on more than six scopes:
    Kmesh would count past the end of its seven priorities.
    """
    if len(routing_preference) > MAX_SCOPES:
        raise ValueError(
            f"a routing preference of {len(routing_preference)} scopes does not fit: "
            f"Kmesh has priorities 0 to {MAX_SCOPES}, so give at most {MAX_SCOPES} scopes"
        )
    steps = []
    equal_so_far = True
    for scope in map(Scope.of, routing_preference):
        ours, theirs = client.value_of(scope), workload.value_of(scope)
        matched = ours == theirs if equal_so_far else None
        equal_so_far = matched is True
        steps.append(ScopeMatch(scope, ours, theirs, matched))
    return steps


def priority(routing_preference: Sequence[Scope | str], client: Place, workload: Place) -> int:
    """Return the priority at which the client's node stores the workload: 0 (nearest) to 6.

    It is the length of the preference minus the number of its leading scopes that match, so an empty preference
    gives 0. `explain_priority` shows the comparison. Same source and errors as there.

    >>> a, b = (Place(Locality.parse(zone), node="n1") for zone in ("cn-west/xian", "cn-west/chengdu"))
    >>> priority(["REGION", "ZONE"], a, b)
    1
    """
    steps = explain_priority(routing_preference, client, workload)
    return len(steps) - sum(1 for step in steps if step.matched)
