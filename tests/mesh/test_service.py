"""Services: their names, addresses and ports, and what is refused because Kmesh would store it wrongly."""

import copy
import pickle
from ipaddress import IPv4Address, IPv6Address

import pytest

from kmesh_lab.mesh import WAYPOINT_PORT, WAYPOINT_TARGET_PORT, LoadBalancing, Service, stored_ports


def service(name="inventory.shop", vip="10.96.0.10", ports=(80,), **more):
    return Service(name, vip, ports, **more)


def test_a_service_is_named_as_istio_names_it():
    inventory = Service("inventory.shop", vip="10.96.0.10", ports={80: 8080})

    assert inventory.name == "inventory.shop"
    assert inventory.namespace == "shop"
    assert inventory.hostname == "inventory.shop.svc.cluster.local"
    assert inventory.key == "shop/inventory.shop.svc.cluster.local"
    assert inventory.load_balancing == LoadBalancing("RANDOM")


@pytest.mark.parametrize(
    ("name", "namespace", "key"),
    [
        ("inventory", None, "default/inventory.default.svc.cluster.local"),
        ("inventory", "shop", "shop/inventory.shop.svc.cluster.local"),
        ("inventory.shop", "shop", "shop/inventory.shop.svc.cluster.local"),
    ],
)
def test_the_namespace_is_in_the_name_or_given_or_default(name, namespace, key):
    assert service(name, namespace=namespace).key == key


def test_a_namespace_is_text(refused):
    with refused("service 'inventory': namespace 5 is not a name"):
        service("inventory", namespace=5)


def test_a_namespace_is_given_once(refused):
    with refused("service 'inventory.shop' cannot be in namespace 'store' too: give the namespace once"):
        service("inventory.shop", namespace="store")


@pytest.mark.parametrize(
    ("name", "namespace", "shown"),
    [
        ("", None, "service '' in namespace 'default'"),
        ("Inventory.shop", None, "service 'Inventory.shop' in namespace 'shop'"),
        ("inventory.", None, "service 'inventory.' in namespace ''"),
        ("inventory", "", "service 'inventory' in namespace ''"),
        ("inventory.shop.svc", None, "service 'inventory.shop.svc' in namespace 'shop.svc'"),
        ("a/b", None, "service 'a/b' in namespace 'default'"),
        (5, None, "service 5 in namespace 'default'"),
        ("a" * 64, None, f"service '{'a' * 64}' in namespace 'default'"),
    ],
)
def test_a_name_that_is_not_two_dns_labels_is_refused(refused, name, namespace, shown):
    with refused(
        f"{shown} is not a service name: expected 'service' or 'service.namespace', "
        "each of a-z, 0-9 and inner '-', at most 63 characters"
    ):
        service(name, namespace=namespace)


@pytest.mark.parametrize("vip", ["10.96.0.10", IPv4Address("10.96.0.10"), ["10.96.0.10"]])
def test_a_vip_is_a_string_an_address_or_a_list(vip):
    assert service(vip=vip).vips == (IPv4Address("10.96.0.10"),)


def test_several_vips_of_one_family_keep_their_order():
    assert service(vip=["10.96.0.11", "10.96.0.10"]).vips == (IPv4Address("10.96.0.11"), IPv4Address("10.96.0.10"))
    assert service(vip=["fd00::2", "fd00::1"]).vips == (IPv6Address("fd00::2"), IPv6Address("fd00::1"))


def test_a_service_of_two_families_is_refused(refused):
    with refused(
        "service 'inventory.shop' mixes IPv4 and IPv6 VIPs: Kmesh keeps one address per backend record, so clients of "
        "the IPv6 VIP would be sent to the four bytes of an IPv4 address; make one service per family"
    ):
        service(vip=["10.96.0.10", "fd00::10"])


@pytest.mark.parametrize(
    ("vip", "message"),
    [
        ("10.96.0", "service 'inventory.shop': '10.96.0' is not an IPv4 or IPv6 address"),
        (174063626, "service 'inventory.shop': 174063626 is not an IPv4 or IPv6 address"),
        (b"\x0a\x60\x00\x0a", "service 'inventory.shop': b'\\n`\\x00\\n' is not an IPv4 or IPv6 address"),
        (None, "service 'inventory.shop': None is not an IPv4 or IPv6 address"),
        ([], "service 'inventory.shop' has no VIP: give at least one, such as vip='10.96.0.10'"),
        (["10.96.0.10", "10.96.0.10"], "service 'inventory.shop' has VIP 10.96.0.10 twice"),
        (
            "::ffff:10.96.0.10",
            "service 'inventory.shop': address ::ffff:10.96.0.10 is IPv4-mapped, and the datapath looks those up as "
            "IPv4: use 10.96.0.10",
        ),
        (
            "fe80::1%eth0",
            "service 'inventory.shop': address fe80::1%eth0 has a zone index, which no map can hold: leave it out",
        ),
        ("0.0.0.0", "service 'inventory.shop': address 0.0.0.0 is unspecified, not the address of one destination"),
        ("::", "service 'inventory.shop': address :: is unspecified, not the address of one destination"),
        (
            "224.0.0.1",
            "service 'inventory.shop': address 224.0.0.1 is a multicast address, not the address of one destination",
        ),
        (
            "ff02::1",
            "service 'inventory.shop': address ff02::1 is a multicast address, not the address of one destination",
        ),
        ("127.0.0.1", "service 'inventory.shop': VIP 127.0.0.1 is loopback, which never leaves the pod"),
        ("::1", "service 'inventory.shop': VIP ::1 is loopback, which never leaves the pod"),
        *(
            (vip, f"service 'inventory.shop': VIP {vip} is Kmesh's own, by which pods are enrolled: use another")
            for vip in ("0.0.0.2", "::2")
        ),
    ],
)
def test_a_vip_that_no_client_could_use_is_refused(refused, vip, message):
    with refused(message):
        service(vip=vip)


def test_a_list_of_ports_means_the_same_target_ports():
    assert service(ports=[80, 443]).ports == {80: 80, 443: 443}


def test_ports_keep_their_order_because_that_is_the_order_of_the_slots():
    assert list(service(ports={443: 8443, 80: 8080}).ports.items()) == [(443, 8443), (80, 8080)]


def test_ports_cannot_be_changed_from_inside_or_outside():
    ports = {80: 8080}
    inventory = service(ports=ports)
    ports[443] = 8443

    assert inventory.ports == {80: 8080}
    with pytest.raises(TypeError):
        inventory.ports[443] = 8443


def test_ten_ports_fit():
    assert len(service(ports=range(8001, 8011)).ports) == 10


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ({}, "service 'inventory.shop' has no port: give at least one, such as ports={80: 8080}"),
        ([], "service 'inventory.shop' has no port: give at least one, such as ports={80: 8080}"),
        ({0: 8080}, "service 'inventory.shop': 0 is not a port: expected an int from 1 to 65535"),
        ({80: 0}, "service 'inventory.shop': 0 is not a port: expected an int from 1 to 65535"),
        ({80: 65536}, "service 'inventory.shop': 65536 is not a port: expected an int from 1 to 65535"),
        ({True: 80}, "service 'inventory.shop': True is not a port: expected an int from 1 to 65535"),
        ({80: "8080"}, "service 'inventory.shop': '8080' is not a port: expected an int from 1 to 65535"),
        ([80, 443, 80], "service 'inventory.shop' lists a port twice: [80, 443, 80]"),
        (80, "service 'inventory.shop': ports 80 is neither a dict such as {80: 8080} nor a list"),
        ("80", "service 'inventory.shop': ports '80' is neither a dict such as {80: 8080} nor a list"),
        (
            range(8001, 8012),
            "service 'inventory.shop' has 11 ports: Kmesh keeps 10 and drops the rest; make two services",
        ),
    ],
)
def test_ports_that_kmesh_would_drop_or_misread_are_refused(refused, ports, message):
    with refused(message):
        service(ports=ports)


def test_a_policy_alone_is_not_a_load_balancing(refused):
    with refused(
        "service 'inventory.shop': load_balancing 'FAILOVER' is not a LoadBalancing: "
        "write LoadBalancing('FAILOVER', ['REGION', 'ZONE'])"
    ):
        service(load_balancing="FAILOVER")


def test_services_are_equal_by_value_and_hashed_by_key():
    inventory = service(ports={80: 8080})

    assert inventory == service("inventory", namespace="shop", ports={80: 8080})
    assert inventory != service(ports={80: 9090})
    assert hash(inventory) == hash(service(ports={80: 9090}))


def test_a_service_can_be_pickled_and_copied():
    inventory = service(vip=["10.96.0.10", "10.96.0.11"], ports={80: 8080}, load_balancing=LoadBalancing("STRICT"))

    assert pickle.loads(pickle.dumps(inventory)) == inventory
    assert copy.deepcopy(inventory) == inventory


def test_a_service_cannot_be_changed():
    with pytest.raises(AttributeError):
        service().name = "orders.shop"


def test_a_waypoint_is_reached_at_15008_and_listens_at_15019():
    assert (WAYPOINT_PORT, WAYPOINT_TARGET_PORT) == (15008, 15019)


@pytest.mark.parametrize("name", ["waypoint.shop", "my-waypoint-2.shop", "inventory.waypoints"])
def test_a_service_with_waypoint_in_its_key_has_its_target_ports_replaced(name):
    waypoint = service(name, ports={15008: 15008, 80: 8080})

    assert stored_ports(waypoint) == {15008: 15019, 80: 15019}
    assert waypoint.ports == {15008: 15008, 80: 8080}


def test_every_other_service_is_stored_with_the_ports_it_has():
    assert stored_ports(service(ports={80: 8080})) == {80: 8080}


def test_a_service_reads_as_a_line():
    inventory = service(ports={80: 8080}, load_balancing=LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE"]))

    assert repr(inventory) == "<Service inventory.shop 10.96.0.10 80→8080 FAILOVER by REGION, ZONE, SUBZONE>"
