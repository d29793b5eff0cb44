"""A class on one machine: ten labs at once, each in a process of its own, with the same names and addresses."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.outside import run_owner

pytestmark = pytest.mark.root

LABS = range(1, 11)

# Labs with an even number have no endpoint next to the shop: the same VIP leads elsewhere there.
OWNER = """
import json, os, sys
import kmesh_lab as km

number = int(sys.stdin.readline())
lab = km.Lab()
n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")
shop, cart = lab.pod("shop", n1), lab.pod("cart", n2)
near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
nearest = km.LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"])
inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, nearest)
lab.apply(inventory, endpoints=[near, far] if number % 2 else [far])
pods = shop, cart, near, far
print(json.dumps({
    "pids": [pod.pid for pod in pods],
    "namespaces": [os.readlink(f"/proc/{pod.pid}/ns/net") for pod in pods],
    "cookies": [pod.netns_cookie for pod in pods],
    "addresses": [str(pod.address) for pod in pods],
}), flush=True)
while sys.stdin.readline().strip() == "connect":
    connection = shop.connect(inventory, 80)
    print(json.dumps({
        "answer": connection.get(f"/stock/{number}").rpartition(":")[0],
        "steps": len(connection.decision.steps),
        "shop": dict(shop.connect_many(inventory, 80, count=50)),
        "cart": dict(cart.connect_many(inventory, 80, count=50)),
    }), flush=True)
print(lab.close())
"""


class Class:
    """Ten owners; each says one line for every line it is told. ``made`` is what their labs are made of."""

    def __init__(self, owners: list[subprocess.Popen[str]]) -> None:
        self.owners = dict(zip(LABS, owners, strict=True))
        self.made: list[dict[str, Any]] = [json.loads(line) for line in self.tell(*map(str, LABS))]

    def tell(self, *lines: str) -> list[str]:
        """Tell everybody (the same, if it is one line) before anybody is listened to, and return the answers."""
        each = lines * len(self.owners) if len(lines) == 1 else lines
        for owner, line in zip(self.owners.values(), each, strict=True):
            assert owner.stdin is not None
            owner.stdin.write(f"{line}\n")
            owner.stdin.flush()
        return [owner.stdout.readline().strip() for owner in self.owners.values() if owner.stdout is not None]

    def connects(self) -> dict[int, dict[str, Any]]:
        """Everybody connects at the same time."""
        return dict(zip(self.owners, map(json.loads, self.tell("connect")), strict=True))


@pytest.fixture(scope="module")
def workshop() -> Iterator[Class]:
    with ExitStack() as stack:
        yield Class([stack.enter_context(run_owner(OWNER, secrets.token_hex(8))) for _ in LABS])


def cgroup_of(pid: int) -> Path:
    """The cgroup of the lab that a pod is in, as the kernel names it: two levels above the pod's."""
    [line] = [line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(line[3:]).parents[1]


def expected(number: int) -> dict[str, Any]:
    near = "inventory-a" if number % 2 else "inventory-b"
    return {"answer": f"{near}: item {number}", "steps": 8, "shop": {near: 50}, "cart": {"inventory-b": 50}}


def test_ten_labs_have_the_same_addresses_and_nothing_else_in_common(workshop: Class) -> None:
    addresses = ["10.244.1.1", "10.244.2.1", "10.244.1.2", "10.244.2.2"]
    assert [lab["addresses"] for lab in workshop.made] == [addresses] * 10
    assert len({cgroup_of(pid) for lab in workshop.made for pid in lab["pids"]}) == 10
    for name in ("pids", "namespaces", "cookies"):
        assert len({each for lab in workshop.made for each in lab[name]}) == 40, name


def test_every_connect_of_ten_labs_at_once_goes_where_its_own_lab_sends_it(workshop: Class) -> None:
    assert workshop.connects() == {number: expected(number) for number in LABS}


def test_a_lab_that_is_killed_takes_its_own_things_with_it_and_no_other_notices(workshop: Class) -> None:
    pids = workshop.made[-1]["pids"]
    with workshop.owners.pop(10) as owner:
        owner.kill()
    assert workshop.connects() == {number: expected(number) for number in LABS if number != 10}
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_every_lab_closes_its_own_and_leaves_nothing(workshop: Class) -> None:
    receipt = "<Receipt: 2 nodes, 4 pods, 1 service, 16 programs removed; left behind: nothing>"
    assert workshop.tell("close") == [receipt] * len(workshop.owners)
