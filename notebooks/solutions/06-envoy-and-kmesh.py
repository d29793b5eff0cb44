"""Solutions of notebook 06. ``python notebooks/solutions/06-envoy-and-kmesh.py`` has them checked."""

from kmesh_lab.comparison import INVENTORY, Route
from kmesh_lab.exercises import exercise

# 06.1 predict: a request is a segment and an answer is one, on each connection of the way. Who copies bytes opens a
# connection for a connection; who reads requests keeps one for all of them.
numbers = {
    "kernel, kept connection: segments": 2,
    "sidecars http, kept connection: segments": 6,
    "sidecars tcp, new connections: connections": 3,
    "sidecars http, new connections: connections": 1,
    "sidecars http, new connections: connections that inventory accepts": 0,
}

# 06.2 change: Envoys that read requests. mtls=True would do as well: then they keep connections that are encrypted.
options = {"sidecar": "http"}


# 06.3 build: the shop is enrolled and has no sidecar, inventory has one.
def lay(lab):
    """The kernel finds the endpoint, and one Envoy reads each request."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    shop, inventory = lab.pod("shop", n1), lab.pod("inventory", n2, sidecar=True)
    lab.apply(INVENTORY, endpoints=[inventory])
    return Route(shop, inventory, (INVENTORY.vips[0], 80), programs=True)


ANSWERS = {"06.1": numbers, "06.2": options, "06.3": lay}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
