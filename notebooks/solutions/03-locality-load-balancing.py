"""Solutions of notebook 03. ``python notebooks/solutions/03-locality-load-balancing.py`` has them checked."""

import kmesh_lab as km
from kmesh_lab.exercises import exercise

# 03.1 predict: priorities seen from cn-west/xian/a are p 1, q 2, r 3, s 2. Nobody is at 0.
chosen = {
    "RANDOM, all four": ["p", "q", "r", "s"],
    "STRICT, all four": "nobody",
    "FAILOVER, all four": "p",
    "FAILOVER, p deleted": ["q", "s"],
    "FAILOVER, q and r only": "q",
}

# 03.2 change: without SUBZONE nothing tells a and b apart; REGION first keeps d behind c.
changed = km.LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE"])

# 03.3 build: x in the shop's zone, y in its region, z in another region, which is the visitor's.
places = {"x": "cn-west/xian/b", "y": "cn-west/chengdu/a", "z": "cn-east/beijing/b"}

ANSWERS = {"03.1": chosen, "03.2": changed, "03.3": places}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
