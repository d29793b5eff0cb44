"""Workloads: what they are, where they run and how Kmesh names them."""

import pickle
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface

import pytest

from kmesh_lab.mesh import Locality, Place, Workload


def workload(name="inventory-a", address="10.244.1.2", node="n1", locality="cn-west/xian/a", **more):
    return Workload(name, address, node, locality, **more)


def test_a_workload_is_in_the_default_namespace_and_healthy_unless_said():
    inventory = workload()

    assert inventory.uid == "Kubernetes//Pod/default/inventory-a"
    assert inventory.address == IPv4Address("10.244.1.2")
    assert inventory.locality == Locality("cn-west", "xian", "a")
    assert inventory.network == ""
    assert inventory.healthy is True


def test_the_uid_has_the_cluster_first():
    assert workload(namespace="shop", cluster="east").uid == "east//Pod/shop/inventory-a"


def test_a_workload_takes_ready_made_addresses_and_localities():
    address, locality = IPv6Address("fd00::2"), Locality("cn-west")
    inventory = workload(address=address, locality=locality)

    assert inventory.address is address
    assert inventory.locality is locality


def test_the_place_of_a_workload_is_what_a_scope_can_compare():
    inventory = workload(cluster="east", network="net-east")

    assert inventory.place == Place(Locality("cn-west", "xian", "a"), "n1", "east", "net-east")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.244.1", "workload 'inventory-a': '10.244.1' is not an IPv4 or IPv6 address"),
        (
            "::ffff:10.1.2.3",
            "workload 'inventory-a': address ::ffff:10.1.2.3 is IPv4-mapped, and the datapath looks those up as IPv4: "
            "use 10.1.2.3",
        ),
        (
            "fe80::1%eth0",
            "workload 'inventory-a': address fe80::1%eth0 has a zone index, which no map can hold: leave it out",
        ),
        ("0.0.0.0", "workload 'inventory-a': address 0.0.0.0 is unspecified, not the address of one destination"),
        (
            "224.0.0.1",
            "workload 'inventory-a': address 224.0.0.1 is a multicast address, not the address of one destination",
        ),
    ],
)
def test_an_address_that_nothing_can_connect_to_is_refused(refused, address, message):
    with refused(message):
        workload(address=address)


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ({"name": ""}, "workload '' in namespace 'default' of cluster 'Kubernetes'"),
        ({"name": "a/b"}, "workload 'a/b' in namespace 'default' of cluster 'Kubernetes'"),
        ({"namespace": "a/b"}, "workload 'inventory-a' in namespace 'a/b' of cluster 'Kubernetes'"),
        ({"cluster": ""}, "workload 'inventory-a' in namespace 'default' of cluster ''"),
        ({"name": 5}, "workload 5 in namespace 'default' of cluster 'Kubernetes'"),
        ({"namespace": None}, "workload 'inventory-a' in namespace None of cluster 'Kubernetes'"),
        ({"name": "\udcff"}, "workload '\\udcff' in namespace 'default' of cluster 'Kubernetes'"),  # no UTF-8
    ],
)
def test_a_part_of_the_uid_is_not_empty_and_has_no_slash(refused, parts, shown):
    with refused(f"{shown}: each must have at least one character and no '/', which separates the parts of its uid"):
        workload(**parts)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"node": None}, "node None, network '', healthy True"),
        ({"network": []}, "node 'n1', network [], healthy True"),
        ({"healthy": "no"}, "node 'n1', network '', healthy 'no'"),
    ],
)
def test_a_place_is_text_and_health_is_true_or_false(refused, more, shown):
    with refused(f"workload 'inventory-a': {shown}: expected two texts, and True or False"):
        workload(**more)


def test_an_interface_is_no_address(refused):
    with refused("workload 'inventory-a': IPv4Interface('10.244.1.2/24') is not an IPv4 or IPv6 address"):
        workload(address=ip_interface("10.244.1.2/24"))


def test_a_malformed_locality_is_refused(refused):
    with refused("locality 'a/b/c/d' has 4 parts: expected 'region', 'region/zone' or 'region/zone/subzone'"):
        workload(locality="a/b/c/d")


def test_workloads_are_equal_by_value_and_hashed_by_uid():
    inventory = workload()
    sick = replace(inventory, healthy=False)

    assert inventory == workload()
    assert inventory != sick
    assert hash(inventory) == hash(sick)


def test_a_workload_cannot_be_changed_but_can_be_pickled():
    inventory = workload()

    with pytest.raises(AttributeError):
        inventory.healthy = False
    assert pickle.loads(pickle.dumps(inventory)) == inventory


def test_a_workload_reads_as_a_line():
    assert repr(workload(namespace="shop")) == "<Workload inventory-a.shop 10.244.1.2 cn-west/xian/a on n1>"
    assert repr(workload(healthy=False)) == (
        "<Workload inventory-a.default 10.244.1.2 cn-west/xian/a on n1, unhealthy>"
    )
    assert repr(workload(locality=Locality())) == "<Workload inventory-a.default 10.244.1.2 no locality on n1>"
