"""What cannot be meant is refused: the error names the thing, the value and the next step, and nothing has changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface

import pytest

import kmesh_lab as km
from kmesh_lab.kernel.cgroup import cgroup2_mount
from tests.lab.conftest import rows

pytestmark = pytest.mark.root


@pytest.fixture
def refused(open_all_day, refused) -> Callable[..., Iterator[None]]:
    """Expect exactly this error, and the lab of the day as it was before."""

    def state() -> tuple[object, ...]:
        day = open_all_day
        cgroups = sorted(str(path) for path in cgroup2_mount().glob(f"{day.lab._ground.cgroup.name}/**/"))
        return list(day.lab.nodes), list(day.lab.pods), day.lab.services, cgroups, rows(day.n1, day.n2)

    @contextmanager
    def expect(kind: type[Exception], message: str) -> Iterator[None]:
        before = state()
        with refused(kind, message):
            yield
        assert state() == before

    return expect


def test_an_unknown_policy(refused) -> None:
    with refused(ValueError, "unknown policy 'FAILVOER': expected RANDOM, STRICT or FAILOVER"):
        km.LoadBalancing("FAILVOER")


def test_an_unknown_scope(refused) -> None:
    expected = "expected REGION, ZONE, SUBZONE, NODE, CLUSTER or NETWORK"
    with refused(ValueError, f"unknown scope 'REGOIN': {expected}"):
        km.LoadBalancing("FAILOVER", routing_preference=["REGOIN"])


def test_a_malformed_vip(refused) -> None:
    with refused(ValueError, "service 'inventory.shop': '10.96.0.256' is not an IPv4 or IPv6 address"):
        km.Service("inventory.shop", "10.96.0.256", [80])


def test_a_malformed_address_of_a_workload(refused) -> None:
    with refused(ValueError, "workload 'inventory-a': '10.244.1' is not an IPv4 or IPv6 address"):
        km.Workload("inventory-a", "10.244.1", "n1", "cn-west")


def test_a_malformed_address_or_an_unknown_name_to_connect_to(open_all_day, refused) -> None:
    known = "there is shop, inventory-a, inventory-b, inventory.shop"
    for text in ("10.96.0.256", "inventry.shop", "", "<img src=x onerror=alert(1)>"):
        with refused(km.LabError, f"no pod or service {text!r} in this lab, and no address either; {known}"):
            open_all_day.shop.connect(text, 80)


def test_something_that_nobody_can_connect_to(open_all_day, refused) -> None:
    with refused(ValueError, "connect to 42? expected a service, a pod, an address or a name"):
        open_all_day.shop.connect(42, 80)
    with refused(ValueError, "connect to None? expected a service, a pod, an address or a name"):
        open_all_day.shop.connect_many(None, 80)


@pytest.mark.parametrize("port", [0, -1, 65536, 80.0, "80", True])
def test_a_port_out_of_range(open_all_day, refused, port) -> None:
    day = open_all_day
    with refused(ValueError, f"service 'web.default': {port!r} is not a port: expected an int from 1 to 65535"):
        km.Service("web", "10.96.0.11", {port: 8080})
    message = f"port {port!r} is out of range: expected an int from 1 to 65535"
    with refused(ValueError, message):
        day.lab.pod("late", day.n1, listen=port)
    with refused(ValueError, message):
        day.shop.connect(day.inventory, port)
    with refused(ValueError, message):
        day.shop.connect_many(day.inventory, port)


def test_more_than_ten_ports(refused) -> None:
    message = "service 'web.default' has 11 ports: Kmesh keeps 10 and drops the rest; make two services"
    with refused(ValueError, message):
        km.Service("web", "10.96.0.11", list(range(80, 91)))


def test_a_target_with_several_ports_or_none_and_no_choice(open_all_day, refused) -> None:
    day = open_all_day
    two = km.Service("two", "10.96.0.11", {80: 8080, 443: 8443})
    with refused(
        ValueError, "which port of <Service two.default 10.96.0.11 80→8080, 443→8443 RANDOM>? it has [80, 443]"
    ):
        day.shop.connect(two)
    with refused(ValueError, "which port of <Pod shop 10.244.1.1 cn-west/xian/a on n1>? give one"):
        day.near.connect(day.shop)
    with refused(ValueError, "which port of IPv4Address('10.96.0.10')? give one"):
        day.shop.connect("10.96.0.10")


def test_an_unknown_protocol_a_wrong_count_and_a_wrong_timeout(open_all_day, refused) -> None:
    day = open_all_day
    with refused(ValueError, "unknown protocol 'sctp': expected tcp or udp"):
        day.shop.connect(day.inventory, protocol="sctp")
    with refused(ValueError, "unknown protocol 'sctp': expected tcp or udp"):
        day.shop.connect_many(day.inventory, protocol="sctp")
    for count in (0, -1, 1.5, True):
        with refused(ValueError, f"count {count!r}: expected an int of at least 1"):
            day.shop.connect_many(day.inventory, count=count)
    for timeout in (0, -1, None, "5", float("nan"), float("inf")):
        with refused(ValueError, f"timeout {timeout!r}: expected seconds, more than 0 and at most 3600"):
            day.shop.connect(day.inventory, timeout=timeout)


def test_what_is_neither_true_nor_false(open_all_day, refused) -> None:
    day = open_all_day
    with refused(ValueError, "enrolled of pod 'shop' None: expected True or False"):
        day.shop.enroll(None)
    with refused(ValueError, "enrolled of pod 'late' 'no': expected True or False"):
        day.lab.pod("late", day.n1, enrolled="no")
    with refused(ValueError, "monitoring 'no': expected True or False"):
        day.n1.configure(monitoring="no")
    with refused(ValueError, "periodic_report 1: expected True or False"):
        day.n1.configure(periodic_report=1)


def test_a_source_that_is_no_file(refused) -> None:
    with refused(ValueError, "source None: expected a C file, a folder with kmesh.c, or an Image"):
        km.Lab(source=None)
    with refused(km.LabError, "None is no file of bpf/: write its name, 'service.h' for example"):
        km.source(None)


def test_an_interface_to_connect_to(open_all_day, refused) -> None:
    target = ip_interface("10.96.0.10/24")
    with refused(ValueError, f"connect to {target!r}? expected a service, a pod, an address or a name"):
        open_all_day.shop.connect(target, 80)


def test_an_unknown_ip_family(open_all_day, refused) -> None:
    day = open_all_day
    for family in (5, True, "4", 4.0):
        with refused(ValueError, f"unknown family of pod 'late' {family!r}: expected 4 or 6"):
            day.lab.pod("late", day.n1, family=family)


def test_a_malformed_locality(open_all_day, refused) -> None:
    expected = "expected 'region', 'region/zone' or 'region/zone/subzone'"
    with refused(ValueError, f"locality 'cn-west//a' has an empty part: {expected}"):
        open_all_day.lab.node("n3", locality="cn-west//a")
    with refused(ValueError, f"locality 5 is not a string: {expected}"):
        open_all_day.lab.node("n3", locality=5)


def test_a_cluster_and_a_network_that_no_pod_could_have(open_all_day, refused) -> None:
    expected = "expected at least one character and no '/', which separates the parts of a uid"
    with refused(ValueError, f"cluster 'a/b' of node 'n3': {expected}"):
        open_all_day.lab.node("n3", cluster="a/b")
    with refused(ValueError, "network 5 of node 'n3': expected a name such as 'net-east', or '' for none"):
        open_all_day.lab.node("n3", network=5)


# ---- names


def test_a_name_that_is_taken(open_all_day, refused) -> None:
    day = open_all_day
    with refused(km.LabError, "node 'n1' already exists and stays as long as its lab; choose another name"):
        day.lab.node("n1")
    with refused(km.LabError, "pod 'inventory-a' already exists on node n1; delete it first or choose another name"):
        day.lab.pod("inventory-a", day.n2)


def test_a_waypoint_without_the_word_in_its_name(open_all_day, refused) -> None:
    message = "waypoint name 'gateway' must contain 'waypoint': Kmesh tells a waypoint by its name"
    with refused(ValueError, message):
        open_all_day.lab.waypoint("gateway", open_all_day.n1)


def test_a_waypoint_with_the_name_of_a_service(open_all_day, refused, request) -> None:
    day = open_all_day
    mine = km.Service("waypoint", "10.96.0.11", [80])
    day.lab.apply(mine)
    request.addfinalizer(lambda: day.lab.delete(mine))
    message = "service 'waypoint.default' already exists; delete it first or choose another name"
    with refused(km.LabError, message):
        day.lab.waypoint("waypoint", day.n1)


def test_a_service_that_is_there_twice(open_all_day, refused) -> None:
    day = open_all_day
    moved = km.Service("inventory.shop", "10.96.0.11", [80])
    with refused(km.LabError, "service 'inventory.shop' is there twice; say once what it shall be"):
        day.lab.apply({day.inventory: [day.near], moved: [day.far]})


def test_a_vip_that_belongs_to_another_service(open_all_day, refused) -> None:
    day = open_all_day
    message = (
        "service 'web.shop': VIP 10.96.0.10 belongs to shop/inventory.shop.svc.cluster.local; choose another address"
    )
    with refused(km.LabError, message):
        day.lab.apply({km.Service("web.shop", "10.96.0.10", [80]): [], km.Service("b.shop", "10.96.0.12", [80]): []})


def test_an_endpoint_with_the_address_of_a_pod(open_all_day, refused) -> None:
    day = open_all_day
    other = km.Workload("other", "10.244.1.1", "n9", "cn-west")
    message = "endpoint 'other' of 'inventory.shop': 10.244.1.1 is the address of pod 'shop'; choose another"
    with refused(km.LabError, message):
        day.lab.apply(day.inventory, endpoints=[day.near, other])


def test_an_endpoint_that_is_named_twice(open_all_day, refused) -> None:
    day = open_all_day
    with refused(km.LabError, "endpoint 'inventory-a' of 'inventory.shop' is named twice; name it once"):
        day.lab.apply(day.inventory, endpoints=[day.near, day.far, day.near])


def test_an_endpoint_with_the_name_of_a_pod_and_another_address(open_all_day, refused) -> None:
    day = open_all_day
    workload = dataclasses.replace(day.near.workload, address=ip_address("10.244.9.9"))
    message = "endpoint 'inventory-a' of 'inventory.shop' has the name of a pod; choose another"
    with refused(km.LabError, message):
        day.lab.apply(day.inventory, endpoints=[workload])


def test_unknown_names(open_all_day, refused) -> None:
    day = open_all_day
    with refused(km.LabError, "no node 'n9' in this lab; there is n1, n2"):
        day.lab.pod("late", "n9")
    with refused(ValueError, "node None: expected what lab.node() returned, or its name"):
        day.lab.pod("late", None)
    pod = "<Pod shop 10.244.1.1 cn-west/xian/a on n1>"
    with refused(ValueError, f"node {pod}: expected what lab.node() returned, or its name"):
        day.lab.pod("late", day.shop)
    known = "there is shop, inventory-a, inventory-b, inventory.shop"
    with refused(km.LabError, f"no pod or service 'inventory' in this lab, and no address either; {known}"):
        day.lab.delete("inventory")
    with refused(km.LabError, "'10.96.0.10' is neither a service nor a pod of this lab"):
        day.lab.delete("10.96.0.10")
    with refused(km.LabError, "<Node n1 cn-west/xian/a, 2 pods> is neither a service nor a pod of this lab"):
        day.lab.delete(day.n1)


def test_what_is_no_service_no_endpoint_and_no_waypoint(open_all_day, refused) -> None:
    day = open_all_day
    with refused(ValueError, "'inventory' is not a Service; write Service('name', vip=…, ports=…)"):
        day.lab.apply("inventory", endpoints=[day.near])
    service = "<Service inventory.shop 10.96.0.10 80→8080 FAILOVER by REGION, ZONE, SUBZONE>"
    with refused(ValueError, f"[{service}] is not a Service; write Service('name', vip=…, ports=…)"):
        day.lab.apply([day.inventory])
    with refused(ValueError, "endpoint 'inventory-a' of 'inventory.shop': expected a pod or a Workload"):
        day.lab.apply(day.inventory, endpoints=["inventory-a"])
    pod = "<Pod inventory-a 10.244.1.2 cn-west/xian/a on n1>"
    with refused(ValueError, f"endpoints {pod} of 'inventory.shop': expected a list of pods or Workloads"):
        day.lab.apply(day.inventory, endpoints=day.near)
    with refused(ValueError, f"waypoint {pod}: expected what lab.waypoint() returned"):
        day.lab.apply(day.inventory, endpoints=[day.near], waypoint=day.near)
    with refused(ValueError, "endpoints are given twice: with many services, lab.apply({web: [a, b], db: [c]})"):
        day.lab.apply({day.inventory: [day.near]}, endpoints=[day.near])


def test_a_picture_of_what_took_no_way(open_all_day, refused) -> None:
    for what in ("shop", 5, [open_all_day.near]):
        with refused(ValueError, f"picture of {what!r}: expected a connection, or a list of ways"):
            open_all_day.lab.picture(what)


# ---- families


def test_a_service_of_two_families(refused) -> None:
    with pytest.raises(ValueError, match=r"^service 'web\.default' mixes IPv4 and IPv6 VIPs: .*; make one service per"):
        km.Service("web", ["10.96.0.11", "fd00:10:96::11"], [80])


def test_an_endpoint_of_the_other_family(open_all_day, refused, request) -> None:
    day = open_all_day
    six = day.lab.pod("six", day.n1, family=6)
    request.addfinalizer(lambda: day.lab.delete(six))
    message = (
        "endpoint 'six' has an IPv6 address, service 'inventory.shop' an IPv4 VIP: "
        "make a second service, with a VIP of the endpoint's family"
    )
    with refused(ValueError, message):
        day.lab.apply({km.Service("web", "10.96.0.11", [80]): [day.far], day.inventory: [day.near, six]})


def test_a_waypoint_of_the_other_family(open_all_day, refused, request) -> None:
    day = open_all_day
    waypoint = day.lab.waypoint("waypoint6", day.n1, family=6)
    request.addfinalizer(lambda: day.lab.delete(waypoint))
    message = (
        "service 'inventory.shop' has an IPv4 VIP, its waypoint fd00:10:96:ff::1: give it a waypoint of its own family"
    )
    with refused(ValueError, message):
        day.lab.apply(day.inventory, endpoints=[day.near], waypoint=waypoint)


# ---- full


def test_5001_services_do_not_fit_and_none_of_them_remains(open_all_day, refused) -> None:
    many = {km.Service(f"s{i}", f"10.97.{i // 250}.{i % 250 + 1}", [80]): () for i in range(5000)}
    with refused(km.MapFull, "map km_service is full: it holds 5,000 rows; delete some first"):
        open_all_day.lab.apply(many)  # with inventory.shop they are 5,001


def test_a_map_that_is_full_on_one_node_undoes_the_change_on_the_others(open_all_day, refused, request) -> None:
    day = open_all_day
    frontends = day.n2.datapath.maps["km_frontend"]
    foreign = [
        (bytes([11, *i.to_bytes(3), *bytes(12)]), b"\1\0\0\0") for i in range(105_000 - len(frontends.rows()) - 3)
    ]
    frontends.update_many(foreign)
    request.addfinalizer(lambda: frontends.delete_many(key for key, _ in foreign))
    vips = [f"10.96.1.{i}" for i in range(1, 5)]
    with refused(km.MapFull, "map km_frontend is full: it holds 105,000 rows; delete some first"):
        day.lab.apply({km.Service("web", vips, [80]): [day.near], day.inventory: [day.far]})
    day.lab.apply(km.Service("web", vips[:3], [80]), [day.near])
    assert day.shop.connect_many("10.96.1.3", 80, count=1).refused == {"ECONNREFUSED": 1}
    day.lab.delete("web")


def test_an_eleventh_service_of_one_workload(open_all_day, refused, request) -> None:
    day = open_all_day
    ten = {km.Service(f"s{i}", f"10.97.0.{i + 1}", [80]): [day.near] for i in range(10)}
    message = "workload 'inventory-a' would be behind 11 services: Kmesh has room for 10; take it out of one first"
    with refused(km.LabError, message):
        day.lab.apply(ten)


def test_the_address_plan_ends(open_all_day, refused, monkeypatch) -> None:
    day = open_all_day
    monkeypatch.setattr("kmesh_lab.lab.addresses._PER_NODE", 2)
    with refused(km.LabError, "node number 1 has no IPv4 address left: it holds 2 pods; make another node"):
        day.lab.pod("late", day.n1)
    monkeypatch.setattr("kmesh_lab.lab.addresses._NODES", 2)
    with refused(km.LabError, "node 'n3' would be number 3: the address plan 10.244.i.j ends at 2"):
        day.lab.node("n3")
