"""Solutions of notebook 01. ``python notebooks/solutions/01-one-connect.py`` has them checked."""

import kmesh_lab as km
from kmesh_lab.exercises import exercise

# 01.1 predict: the node decides for its own clients, the ports belong to the service, and an address that exists is
# reached without the mesh, too.
arrivals = {
    "visitor to 10.96.0.10:80": "inventory-b",
    "shop to 10.96.0.10:8080": "nobody",
    "shop to 10.244.1.2:80": "nobody",
    "stranger to 10.244.1.2:8080": "inventory-a",
    "shop to 10.244.2.1:8080": "inventory-b",
}

# 01.2 change: one more slot in the service row, and port 80 keeps its own.
nearest = km.LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE", "SUBZONE"])
changed = km.Service("inventory.shop", vip="10.96.0.10", ports={80: 8080, 81: 8080}, load_balancing=nearest)


# 01.3 build: every lookup can fail, and then the destination stays as it was.
def walk(maps, address, port):
    """Return the address and port with which connect(2) goes on."""
    stay = address, port
    if address not in maps.frontend:
        return stay
    upstream_id = maps.frontend[address]
    if upstream_id not in maps.service:  # a pod, addressed directly
        return stay
    service = maps.service[upstream_id]
    ports, levels = dict(service.ports), [prio for prio, count in enumerate(service.prio_endpoint_count) if count]
    if not levels or (upstream_id, levels[0], 1) not in maps.endpoint or port not in ports:
        return stay
    backend_uid = maps.endpoint[(upstream_id, levels[0], 1)]
    return (maps.backend[backend_uid].address, ports[port]) if backend_uid in maps.backend else stay


ANSWERS = {"01.1": arrivals, "01.2": changed, "01.3": walk}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
