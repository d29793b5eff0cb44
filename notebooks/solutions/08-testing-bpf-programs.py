"""Solutions of notebook 08. ``python notebooks/solutions/08-testing-bpf-programs.py`` has them checked."""

from kmesh_lab.exercises import exercise

# 08.1 predict: a test sees what it compares, and what it needs to get that far.
seen = {
    "the port in the TLV is in host order": "killed",
    "a TLV of length 8": "killed",
    "no end mark": "survives",
    "the TLV has another type": "survives",
    "a TLV before every message": "survives",
    "no socket gets into km_socket": "killed",
}

# 08.2 change: every byte, written out; both families; the second message; and a connection that shall have none.
TLV = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
MAPPED_TLV = bytes.fromhex("01 00000012 00000000000000000000ffff0a60000a 0050 fe 00000000")


def test_the_tlv_stands_before_the_first_bytes(shop, inventory, waypoint):
    with shop.connect(inventory) as c:
        c.send(b"HELLO")
        assert bytes(waypoint.captured()) == TLV + b"HELLO"


def test_an_ipv6_socket_has_the_long_form(shop, waypoint):
    with shop.connect("::ffff:10.96.0.10", 80) as c:
        c.send(b"HELLO")
        assert bytes(waypoint.captured()) == MAPPED_TLV + b"HELLO"


def test_the_second_message_has_none(shop, inventory):
    with shop.connect(inventory) as c:
        c.send(b"HELLO")
        assert c.recv() == b"inventory-a: HELLO"
        c.send(b"AGAIN")
        assert c.recv() == b"AGAIN"


def test_without_a_waypoint_there_is_none(shop, direct):
    with shop.connect(direct) as c:
        c.send(b"HELLO")
        assert c.recv() == b"inventory-a: HELLO"


# 08.3 build: each policy where the others would choose differently, and the die with bounds that chance keeps.
def test_random_throws_a_fair_die(shop, near, far, publish):
    count = shop.connect_many(publish("RANDOM", near, far), count=400)
    assert set(count) == {"near", "far"}
    assert all(150 <= each <= 250 for each in count.values())


def test_failover_takes_the_nearest_that_is_there(shop, near, far, remote, publish):
    assert shop.connect_many(publish("FAILOVER", near, far, remote), count=20) == {"near": 20}
    assert shop.connect_many(publish("FAILOVER", far, remote), count=20) == {"far": 20}
    assert shop.connect_many(publish("FAILOVER", remote), count=20) == {"remote": 20}


def test_failover_does_not_try_again(shop, n1, near, far, publish):
    service = publish("FAILOVER", near, far)
    del n1.maps.endpoint[(service, 0, 1)]
    assert shop.connect_many(service, count=2).refused


def test_strict_stays_where_it_is(shop, near, far, publish):
    assert shop.connect_many(publish("STRICT", near, far), count=20) == {"near": 20}
    assert shop.connect_many(publish("STRICT", far), count=2).refused


def test_a_mapped_address_finds_the_service_too(shop, near, publish):
    publish("RANDOM", near)
    assert shop.connect_many("::ffff:10.96.0.10", 80, count=5) == {"near": 5}


tlv_tests = [
    test_the_tlv_stands_before_the_first_bytes,
    test_an_ipv6_socket_has_the_long_form,
    test_the_second_message_has_none,
    test_without_a_waypoint_there_is_none,
]
locality_tests = [
    test_random_throws_a_fair_die,
    test_failover_takes_the_nearest_that_is_there,
    test_failover_does_not_try_again,
    test_strict_stays_where_it_is,
    test_a_mapped_address_finds_the_service_too,
]

ANSWERS = {"08.1": seen, "08.2": tlv_tests, "08.3": locality_tests}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
