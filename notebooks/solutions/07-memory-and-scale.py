"""Solutions of notebook 07. ``python notebooks/solutions/07-memory-and-scale.py`` has them checked."""

from kmesh_lab.exercises import exercise

# 07.1 predict: a service goes into three maps and to every Envoy, a pod into two maps and to none.
grown = {
    "a second service, orders.shop, with the endpoint inventory-a": [
        "km_frontend",
        "km_service",
        "km_endpoint",
        "shop",
        "inventory-a",
    ],
    "inventory-b becomes an endpoint of inventory.shop, too": ["km_endpoint", "shop", "inventory-a"],
    "the policy of inventory.shop becomes STRICT by NODE": "nobody",
    "a new pod without a sidecar, newcomer, behind no service": ["km_frontend", "km_backend"],
    "a new pod with a sidecar, newcomer, behind no service": ["km_frontend", "km_backend", "newcomer"],
}

# 07.2 change: one at the client that shall pass two, one at the server that shall be passed by both.
sidecars = {"shop": True, "cart": False, "inventory-a": True, "orders-a": False}


# 07.3 build: an empty Envoy takes 17 MB of its own, and some 66 kB more for each service.
def envoys(pods, services):
    return pods * (17e6 + 66e3 * services)


ANSWERS = {"07.1": grown, "07.2": sidecars, "07.3": envoys}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
