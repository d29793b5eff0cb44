"""The labs in which answers are tried: each check makes its own, and none of it is left afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kmesh_lab.datapath.decision import Decision
from kmesh_lab.lab import Lab, Node, Pod
from kmesh_lab.mesh import LoadBalancing, Locality, Service

__all__ = ["NEAREST", "Field", "Shop", "diagnosis", "open_field", "open_shop"]

NEAREST = LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE", "SUBZONE"])


@dataclass(frozen=True)
class Shop:
    """The shop of notebooks 01 and 02: two nodes in two subzones, the shop next to inventory-a, a visitor on n2."""

    lab: Lab
    n1: Node
    n2: Node
    shop: Pod
    near: Pod
    far: Pod
    visitor: Pod
    inventory: Service

    def publish(self) -> None:
        """Write what should be in the maps."""
        self.lab.apply(self.inventory, endpoints=[self.near, self.far])


@contextmanager
def open_shop() -> Iterator[Shop]:
    """The shop; addresses are those of the notebooks."""
    with Lab() as lab:
        n1 = lab.node("n1", locality="cn-west/xian/a")
        n2 = lab.node("n2", locality="cn-west/xian/b")
        shop = lab.pod("shop", node=n1)
        near = lab.pod("inventory-a", node=n1, listen=8080)
        far = lab.pod("inventory-b", node=n2, listen=8080)
        visitor = lab.pod("visitor", node=n2)
        inventory = Service("inventory.shop", vip="10.96.0.10", ports={80: 8080}, load_balancing=NEAREST)
        each = Shop(lab, n1, n2, shop, near, far, visitor, inventory)
        each.publish()
        yield each


@dataclass(frozen=True)
class Field:
    """Clients and endpoints at places of one's choice; every place is a node."""

    lab: Lab
    clients: dict[str, Pod]
    endpoints: dict[str, Pod]

    def apply(self, load_balancing: LoadBalancing, names: Sequence[str]) -> Service:
        """Publish inventory.shop with these endpoints."""
        service = Service("inventory.shop", vip="10.96.0.10", ports={80: 8080}, load_balancing=load_balancing)
        self.lab.apply(service, endpoints=[self.endpoints[name] for name in names])
        return service

    def reached(
        self, client: str, load_balancing: LoadBalancing, names: Sequence[str], count: int = 200
    ) -> frozenset[str]:
        """The names of the endpoints that so many real connects of a client reach."""
        service = self.apply(load_balancing, names)
        connects = self.clients[client].connect_many(service, count=2)
        if connects.refused:  # the VIP: nobody has it, and each connect would wait for the answer
            return frozenset(connects)
        return frozenset(self.clients[client].connect_many(service, count=count))


@contextmanager
def open_field(clients: Mapping[str, str], endpoints: Mapping[str, str]) -> Iterator[Field]:
    """Clients (name → locality) and endpoints (name → locality)."""
    with Lab() as lab:
        nodes: dict[Locality, Node] = {}

        def node_at(text: str) -> Node:
            locality = Locality.parse(text)
            if locality not in nodes:
                nodes[locality] = lab.node(f"n{len(nodes) + 1}", locality=locality)
            return nodes[locality]

        yield Field(
            lab,
            {name: lab.pod(name, node=node_at(where)) for name, where in clients.items()},
            {name: lab.pod(name, node=node_at(where), listen=8080) for name, where in endpoints.items()},
        )


def diagnosis(decision: Decision) -> str:
    """Why a connect ended where it did, from the steps that the programs reported."""
    steps = {step.kind: step for step in decision.steps}
    if "DNAT" in steps:
        step = steps["DNAT"]
        if step.ret:
            return "The service row has no slot for this port, so the destination stayed as it was."
        return f"The rows lead to {steps['BACKEND'].name(steps['BACKEND'].id)}."
    if "FRONTEND" in steps and steps["FRONTEND"].ret:
        return "km_frontend has no row for the address, so for the mesh it is an address outside."
    if "SERVICE" in steps and steps["SERVICE"].ret:
        leads = steps["FRONTEND"].found
        if steps["BACKEND"].ret:
            return f"The frontend leads to {leads}, and neither km_service nor km_backend has a row {leads}."
        name = steps["BACKEND"].name(leads)
        return (
            f"The frontend leads to the pod {name}, not to a service. A pod is taken to be addressed directly: "
            "its row is read, and the destination stays as it was."
        )
    if "ENDPOINT" in steps and steps["ENDPOINT"].ret:
        step = steps["ENDPOINT"]
        return (
            f"The service row counts an endpoint at priority {step.prio}, so the program looked for row "
            f"({step.map_row.partition('[')[2][:-1]}) of km_endpoint, and there is none. Indices count from 1."
        )
    if "BACKEND" in steps and steps["BACKEND"].ret:
        return f"The endpoint row names {steps['BACKEND'].id}, and km_backend has no such row."
    return "The service row counts no endpoint at any priority that its policy allows, so the destination stayed."
