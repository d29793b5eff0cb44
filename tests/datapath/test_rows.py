"""Rows byte for byte: network order for addresses and ports, the CPU's for numbers, zero for everything unused."""

from ipaddress import ip_address

import pytest

from kmesh_lab.datapath.rows import (
    BackendRow,
    EndpointKey,
    ServiceRow,
    address_text,
    pack_ip,
    unpack_ip,
    words_to_bytes,
)
from kmesh_lab.mesh import Policy

pytestmark = pytest.mark.root

WAYPOINT = (ip_address("10.96.0.20"), 15008)


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        ("10.96.0.10", "0a60000a000000000000000000000000"),
        ("fd00:96::10", "fd000096000000000000000000000010"),
        ("::ffff:10.96.0.10", "00000000000000000000ffff0a60000a"),
    ],
)
def test_an_address_is_16_bytes_in_network_order(address, packed):
    assert pack_ip(ip_address(address)).hex() == packed
    assert unpack_ip(bytes.fromhex(packed)) == ip_address(address)


@pytest.mark.parametrize(
    ("number", "packed"), [(2454042994, "72b94592"), (0xB8897707, "077789b8"), (0, "00000000"), (2**32 - 1, "ffffffff")]
)
def test_an_id_is_in_the_order_of_the_cpu(rows, number, packed):
    assert rows.pack_id(number).hex() == packed
    assert rows.unpack_id(bytes.fromhex(packed)) == number


def test_an_endpoint_key_is_service_priority_and_index(rows):
    packed = rows.pack_endpoint_key(2454042994, 3, 258)

    assert packed.hex() == "72b945920300000002010000"
    assert rows.unpack_endpoint_key(packed) == EndpointKey(service_id=2454042994, prio=3, index=258)


def test_a_service_without_a_waypoint_ends_in_zeros(rows):
    row = ServiceRow((2, 0, 0, 1, 0, 0, 0), Policy.FAILOVER, ((80, 8080), (443, 8443)))

    packed = rows.pack_service(row)

    assert packed.hex() == (
        "02000000" "00000000" "00000000" "01000000" "00000000" "00000000" "00000000"  # prio_endpoint_count
        "02000000"  # lb_policy
        "00500000" "01bb0000" + 8 * "00000000" +  # service_port: 80, 443
        "1f900000" "20fb0000" + 8 * "00000000" +  # target_port: 8080, 8443
        "00000000000000000000000000000000"  # wp_addr
        "00000000"  # waypoint_port
    )  # fmt: skip
    assert rows.unpack_service(packed) == row


def test_a_service_with_a_waypoint_has_its_address_and_port_in_network_order(rows):
    row = ServiceRow((0,) * 7, Policy.RANDOM, ((80, 80),), WAYPOINT)

    packed = rows.pack_service(row)

    assert packed[112:].hex() == "0a600014" + 24 * "0" + "3aa00000"
    assert rows.unpack_service(packed) == row


def test_ports_keep_their_order_and_ten_fit(rows):
    ports = tuple((port, port + 1) for port in (9, 3, 7, 1, 8, 2, 6, 4, 5, 65534))

    packed = rows.pack_service(ServiceRow((0,) * 7, Policy.STRICT, ports))

    assert packed[32:36].hex() == "00090000"
    assert packed[68:72].hex() == "fffe0000"
    assert rows.unpack_service(packed).ports == ports


def test_a_policy_that_nobody_knows_is_kept(rows):
    packed = rows.pack_service(ServiceRow((0,) * 7, 3, ()))

    assert packed[28:32].hex() == "03000000"
    assert rows.unpack_service(packed).policy == 3
    assert rows.unpack_service(packed).policy_name == "policy 3"
    assert ServiceRow((0,) * 7, 2, ()).policy_name == "FAILOVER"


def test_a_backend_has_its_address_its_services_and_its_waypoint(rows):
    row = BackendRow(ip_address("10.244.1.2"), (2454042994, 7), WAYPOINT)

    packed = rows.pack_backend(row)

    assert packed.hex() == (
        "0af40102000000000000000000000000"  # addr
        "02000000"  # service_count
        "72b94592" "07000000" + 8 * "00000000" +  # service
        "0a600014000000000000000000000000"  # wp_addr
        "3aa00000"  # waypoint_port
    )  # fmt: skip
    assert rows.unpack_backend(packed) == row


def test_an_ipv6_backend_of_ten_services_fills_its_row(rows):
    row = BackendRow(ip_address("fd00:10:244:1::2"), tuple(range(1, 11)))

    packed = rows.pack_backend(row)

    assert packed[:16].hex() == "fd000010024400010000000000000002"
    assert packed[16:24].hex() == "0a00000001000000"
    assert packed[56:60].hex() == "0a000000"
    assert packed[60:] == bytes(20)
    assert rows.unpack_backend(packed) == row


def test_the_numbers_of_rows_come_from_the_c(rows):
    assert (rows.priorities, rows.max_services) == (7, 10)


def test_words_are_bytes_as_they_lie_in_memory():
    assert words_to_bytes((0x0A00600A, 1)).hex() == "0a60000a01000000"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ((ip_address("10.96.0.10"), 80), "10.96.0.10:80"),
        ((ip_address("fd00::1"), 80), "[fd00::1]:80"),
        ((ip_address("::ffff:10.96.0.10"), 80), "[::ffff:10.96.0.10]:80"),
        (None, "nowhere"),
    ],
)
def test_an_address_is_written_as_people_do(address, text):
    assert address_text(address) == text
