"""The waypoint: reads the TLV, forwards, and reports what it saw."""

import os
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

# 10.96.0.10 port 80, [fd00:96::10] port 80, and 10.96.0.10 port 80 as an AF_INET6 socket says it.
V4 = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
V6 = bytes.fromhex("01 00000012 fd000096000000000000000000000010 0050 fe 00000000")
MAPPED = bytes.fromhex("01 00000012 00000000000000000000ffff0a60000a 0050 fe 00000000")
REQUEST = b"GET /stock/42 HTTP/1.0\r\n\r\n"

EPOLL_WAIT = ("232", "281", "22")  # epoll_wait and epoll_pwait on x86-64, epoll_pwait on arm64


@pytest.fixture
def waypoint(start):
    """A waypoint before two endpoints, which listen in its own network namespace."""
    waypoint = start("waypoint", script="waypoint")
    waypoint.request("listen", port=8080, name="inventory-a")
    waypoint.request("listen", port=8081, name="inventory-b")
    endpoints = [("127.0.0.1", 8080), ("127.0.0.1", 8081)]
    waypoint.request(
        "services",
        table=[("10.96.0.10", 80, endpoints), ("fd00:96::10", 80, [("::1", 8080)]), ("10.96.0.11", 80, [])],
    )
    return waypoint


@pytest.fixture
def ask(waypoint, connect, receive_all):
    """Send bytes to the waypoint and return what comes back until the end."""

    def ask_one(data, address="127.0.0.1", size=None):
        with connect(waypoint, address, 15019) as sock:
            for start in range(0, len(data), size or len(data)):
                sock.send(data[start : start + (size or len(data))])
            try:
                return receive_all(sock)
            except ConnectionResetError:  # closed with bytes of ours unread
                return b""

    return ask_one


def captured(waypoint, count):
    report = waypoint.request("captured", count=count, timeout=5)
    assert sum(report["counts"].values()) == count
    return report


def test_a_request_is_answered_by_an_endpoint_of_the_original_service(waypoint, ask):
    assert ask(V4 + REQUEST).endswith(b"\r\n\r\ninventory-a: item 42: 7 in stock\n")

    report = captured(waypoint, 1)
    (connection,) = report["connections"]
    assert connection.pop("peer")[0] == "127.0.0.1"
    assert connection == {
        "received": (V4 + REQUEST).hex(),
        "original": ["10.96.0.10", 80],
        "forwarded": ["127.0.0.1", 8080],
        "problem": None,
    }
    assert report["counts"] == {"forwarded": 1}


@pytest.mark.parametrize("size", [1, 7, 16, 17])
@pytest.mark.parametrize("tlv", [V4, V6, MAPPED])
def test_tlv_and_request_may_come_in_any_pieces(waypoint, ask, tlv, size):
    assert ask(tlv + REQUEST, size=size).endswith(b"inventory-a: item 42: 7 in stock\n")

    (connection,) = captured(waypoint, 1)["connections"]
    assert connection["received"].startswith(tlv.hex())


def test_a_request_that_comes_later_than_its_tlv_is_captured_with_it(waypoint, connect, receive_all):
    with connect(waypoint, "127.0.0.1", 15019) as sock:
        sock.send(V4)
        time.sleep(0.1)
        assert waypoint.request("captured")["connections"] == []
        sock.send(REQUEST)
        assert receive_all(sock).endswith(b"7 in stock\n")

    (connection,) = captured(waypoint, 1)["connections"]
    assert connection["received"] == (V4 + REQUEST).hex()


def test_a_client_that_is_silent_is_given_as_long_as_it_likes(waypoint, connect, ask):
    def time_limits():
        """Of the waypoint and its two endpoints, while they wait: milliseconds, 0xffffffff for none."""
        calls = [path.read_text().split() for path in Path(f"/proc/{waypoint.pid}/task").glob("*/syscall")]
        return [int(call[4], 16) for call in calls if call[0] in EPOLL_WAIT]

    with connect(waypoint, "127.0.0.1", 15019) as silent:
        ask(V4 + REQUEST)  # accepted after the silent one, so that one is waited for by now
        deadline = time.monotonic() + 5
        while len(limits := time_limits()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert limits == [0xFFFFFFFF] * 3
        silent.send(V4 + REQUEST)
        assert silent.recv(1000).endswith(b"7 in stock\n")


def test_endpoints_are_used_in_turn(waypoint, ask):
    answers = [ask(V4 + REQUEST).split(b"\r\n\r\n")[1][:11] for _ in range(4)]

    assert answers == [b"inventory-a", b"inventory-b", b"inventory-a", b"inventory-b"]


def test_an_ipv4_client_with_an_ipv6_socket_finds_the_service_too(waypoint, ask):
    assert ask(MAPPED + REQUEST, address="::ffff:127.0.0.1").endswith(b"7 in stock\n")

    (connection,) = captured(waypoint, 1)["connections"]
    assert connection["original"] == ["10.96.0.10", 80]


def test_an_ipv6_client_reaches_an_ipv6_endpoint(waypoint, ask):
    assert ask(V6 + REQUEST, address="::1").endswith(b"7 in stock\n")

    (connection,) = captured(waypoint, 1)["connections"]
    assert (connection["peer"][0], connection["forwarded"]) == ("::1", ["::1", 8080])


@pytest.mark.parametrize(
    ("data", "outcome", "problem"),
    [
        (REQUEST, "no TLV", "no TLV: the first byte is 0x47, expected 0x01"),
        (V4[:4] + b"\x08" + V4[5:], "no TLV", "malformed TLV: length 8, expected 6 (IPv4) or 18 (IPv6)"),
        (V4[:11] + REQUEST, "no TLV", "malformed TLV: after the port comes 47 45 54 20 2f, expected the end mark"),
        (V4[:8] + b"\x63" + V4[9:], "unknown destination", "no service has 10.96.0.99 port 80"),
        (V4[:10] + b"\x51" + V4[11:], "unknown destination", "no service has 10.96.0.10 port 81"),
        (V4[:8] + b"\x0b" + V4[9:], "no endpoint", "the service at 10.96.0.11 port 80 has no endpoint"),
    ],
)
def test_a_connection_that_cannot_be_forwarded_is_closed_and_counted(waypoint, ask, data, outcome, problem):
    assert ask(data) == b""

    report = captured(waypoint, 1)
    (connection,) = report["connections"]
    assert report["counts"] == {outcome: 1}
    assert connection["problem"].startswith(problem)
    assert connection["received"] == data.hex()
    assert connection["forwarded"] is None


@pytest.mark.parametrize("data", [b"", b"\x01", V4[:15]])
def test_a_client_that_goes_before_its_tlv_is_complete_is_counted(waypoint, connect, receive_all, data):
    with connect(waypoint, "127.0.0.1", 15019) as sock:
        sock.send(data)
        sock.shutdown(1)
        assert receive_all(sock) == b""

    report = captured(waypoint, 1)
    assert report["counts"] == {"no TLV": 1}
    assert report["connections"][0]["problem"] == f"the client closed after {len(data)} bytes, before a TLV"


def test_an_endpoint_that_does_not_answer_closes_the_connection(waypoint, ask):
    waypoint.request("services", table=[("10.96.0.10", 80, [("127.0.0.1", 81)])])

    assert ask(V4 + REQUEST) == b""
    report = captured(waypoint, 1)
    assert report["counts"] == {"endpoint unreachable": 1}
    assert report["connections"][0]["problem"] == "endpoint 127.0.0.1 port 81: Connection refused"


def test_a_new_table_replaces_the_old_one(waypoint, ask):
    waypoint.request("services", table=[("10.96.0.99", 80, [("127.0.0.1", 8081)])])

    assert ask(V4 + REQUEST) == b""
    assert ask(V4[:8] + b"\x63" + V4[9:] + REQUEST).endswith(b"inventory-b: item 42: 7 in stock\n")


@pytest.mark.parametrize("table", [[("inventory", 80, [])], [("10.96.0.10", 80, [("inventory-a", 8080)])], ["x"]])
def test_a_malformed_table_is_refused_and_the_old_one_stays(waypoint, ask, table):
    with pytest.raises(OSError, match="pod 'waypoint': services: "):
        waypoint.request("services", table=table)

    assert ask(V4 + REQUEST).endswith(b"7 in stock\n")


def test_a_megabyte_goes_through_and_comes_back_whole(waypoint, connect, receive_all):
    data = os.urandom(1 << 20)

    with connect(waypoint, "127.0.0.1", 15019) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(V4 + data), sock.shutdown(1)))
        sender.start()
        echoed = receive_all(sock)  # the end of the request direction leaves the answer open
        sender.join()

    assert echoed.startswith(b"inventory-a: ")
    assert echoed.removeprefix(b"inventory-a: ") == data
    (connection,) = captured(waypoint, 1)["connections"]
    assert connection["received"] == (V4 + data).hex()[: 2 * 4096]


def test_a_connection_stays_open_for_the_next_request(waypoint, connect):
    with connect(waypoint, "127.0.0.1", 15019) as sock:
        sock.send(V4 + b"GET /stock/42")
        assert sock.recv(1000).endswith(b"inventory-a: item 42: 7 in stock\n")
        sock.send(b"GET /stock/43")
        assert sock.recv(1000).endswith(b"inventory-a: item 43: 14 in stock\n")


def test_many_clients_at_the_same_time_are_all_forwarded_and_nothing_stays_open(waypoint, connect):
    def connections():
        with open(f"/proc/{waypoint.pid}/net/tcp") as file:
            states = [line.split()[3] for line in file][1:]
        return len(states) - states.count("0A") - states.count("06")  # listening, and in TIME_WAIT

    socks = [connect(waypoint, "127.0.0.1", 15019) for _ in range(200)]
    for sock in socks:
        sock.send(V4 + b"hello")
    answers = {sock.recv(100) for sock in socks}
    assert connections() == 4 * len(socks)  # client to waypoint and waypoint to endpoint, both ends
    for sock in socks:
        sock.close()

    assert answers == {b"inventory-a: hello", b"inventory-b: hello"}
    assert captured(waypoint, 200)["counts"] == {"forwarded": 200}
    deadline = time.monotonic() + 5
    while connections() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert connections() == 0


def test_clients_that_reset_are_counted_and_leave_the_waypoint_working(waypoint, ask):
    waypoint.request("connect_many", address="127.0.0.1", port=15019, count=300)

    assert ask(V4 + REQUEST).endswith(b"7 in stock\n")
    assert captured(waypoint, 301)["counts"] == {"no TLV": 300, "forwarded": 1}


def test_the_report_remembers_the_last_thousand_and_counts_all(waypoint):
    waypoint.request("connect_many", address="127.0.0.1", port=15019, count=1200)

    report = captured(waypoint, 1200)
    assert len(report["connections"]) == 1000
    assert report["counts"] == {"no TLV": 1200}


def test_the_report_waits_for_a_connection(waypoint, connect):
    with connect(waypoint, "127.0.0.1", 15019) as sock:
        later = threading.Timer(0.2, sock.send, [V4 + b"hello"])
        later.start()
        (connection,) = waypoint.request("captured", count=1, timeout=5)["connections"]
        later.join()

    assert connection["received"] == (V4 + b"hello").hex()


def test_waiting_for_a_connection_that_does_not_come_ends_with_the_time_limit(waypoint):
    assert waypoint.request("captured", count=1, timeout=0.1).values == {"connections": [], "counts": {}}
