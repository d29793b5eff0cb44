"""Solutions of notebook 02. ``python notebooks/solutions/02-the-mesh-is-four-maps.py`` has them checked."""

from kmesh_lab.exercises import exercise

# 02.1 predict: only the rows on the way count, on the node of the client; and a real address needs no row.
missing = {
    "km_endpoint[inventory, 1, 1] is gone: shop to 10.96.0.10:80": "inventory-a",
    "km_frontend[10.244.1.2] is gone: shop to 10.96.0.10:80": "inventory-a",
    "km_backend[inventory-a] is gone: shop to 10.244.1.2:8080": "inventory-a",
    "km_service[inventory] is gone on n1: visitor on n2 to 10.96.0.10:80": "inventory-b",
}

# 02.2 change: the row that the program picks at priority 0. Its index is 1, the first one.
row = ("endpoint", ("inventory.shop", 0, 1), "inventory-b")

# 02.3 build: what nobody points to yet goes first. The service row is a copy, so it counts an endpoint at priority 0.
# The backend row is there already: pods have theirs from the start.
rows = [
    ("endpoint", (77, 0, 1), "inventory-b"),
    ("service", 77, "inventory.shop"),
    ("frontend", "10.96.0.30", 77),
]

ANSWERS = {"02.1": missing, "02.2": row, "02.3": rows}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
