"""Real connects made in a pod: one, many, and a loop."""

import errno
import os
import socket
import struct
import time

import pytest

pytestmark = pytest.mark.root

SO_COOKIE = 57


@pytest.fixture
def port(pod):
    return pod.request("listen", port=8080)["port"]


@pytest.mark.parametrize(
    ("address", "family"),
    [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("::ffff:127.0.0.1", socket.AF_INET6)],
)
@pytest.mark.parametrize(("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_connected_socket_is_handed_over_with_its_cookie_and_addresses(pod, port, address, family, protocol, kind):
    reply = pod.request("connect", address=address, port=port, protocol=protocol)

    with reply.socket() as sock:
        assert (sock.family, sock.type) == (family, kind)
        assert reply["connect_errno"] == 0
        assert reply["cookie"] == struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
        assert reply["peer"] == list(sock.getpeername()[:2]) == [address, port]


def test_a_connected_socket_blocks_and_has_no_time_limit(pod, port, connect):
    reply = pod.request("connect", address="127.0.0.1", port=port, timeout=0.5)

    with reply.socket() as sock:
        assert sock.gettimeout() is None
        assert os.get_blocking(sock.fileno())
        assert not os.get_inheritable(sock.fileno())
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16) == bytes(16)


@pytest.mark.parametrize(
    ("address", "port", "code"),
    [
        ("127.0.0.1", 81, errno.ECONNREFUSED),
        ("::1", 81, errno.ECONNREFUSED),
        ("10.96.0.10", 80, errno.ENETUNREACH),
        ("fd00:96::10", 80, errno.ENETUNREACH),
    ],
)
def test_a_connect_that_fails_has_an_errno_and_a_cookie_and_no_socket(pod, address, port, code):
    reply = pod.request("connect", address=address, port=port)

    assert reply["connect_errno"] == code
    assert reply["cookie"] > 0
    assert reply["peer"] is None
    assert reply.descriptors == ()


def test_a_connect_without_an_answer_ends_with_the_time_limit(pod, unanswered):
    start = time.monotonic()
    reply = pod.request("connect", address="127.0.0.1", port=unanswered, timeout=0.2)

    assert reply["connect_errno"] == errno.ETIMEDOUT
    assert 0.15 < time.monotonic() - start < 2


def test_thousands_of_connects_in_a_row_are_counted_by_peer_and_leave_nothing_behind(pod, port):
    reply = pod.request("connect_many", address="127.0.0.7", port=port, count=5000)

    assert reply.values == {"peers": [["127.0.0.7", port, 5000]], "errors": []}
    with open(f"/proc/{pod.pid}/net/sockstat") as sockstat:
        assert "tw 0" in sockstat.read()


def test_many_udp_connects_send_nothing_and_reach_their_peer(pod):
    reply = pod.request("connect_many", address="127.0.0.1", port=9, count=500, protocol="udp")

    assert reply.values == {"peers": [["127.0.0.1", 9, 500]], "errors": []}


def test_many_connects_report_each_error(pod):
    before = time.monotonic()
    reply = pod.request("connect_many", address="127.0.0.1", port=81, count=100)
    assert reply["peers"] == []
    assert {code for _, code in reply["errors"]} == {errno.ECONNREFUSED}
    assert all(before <= when <= time.monotonic() for when, _ in reply["errors"])
    assert len(reply["errors"]) == 100


def test_a_loop_connects_until_it_is_stopped(pod, port):
    before = time.monotonic()
    good = pod.request("loop_start", address="127.0.0.1", port=port, log=True)["loop"]
    bad = pod.request("loop_start", address="127.0.0.1", port=81, pause=0.01)["loop"]
    time.sleep(0.5)
    pod.request("netns_cookie")  # other requests are answered meanwhile
    tally, errors = pod.request("loop_stop", loop=good), pod.request("loop_stop", loop=bad)
    after = time.monotonic()

    ((*peer, connects),) = tally["peers"]
    assert peer == ["127.0.0.1", port]
    assert connects > 10
    assert tally["errors"] == []
    assert errors["peers"] == []
    assert 1 < len(errors["errors"]) <= (after - before) / 0.01 + 1
    assert {code for _, code in errors["errors"]} == {errno.ECONNREFUSED}
    assert len(tally["log"]) == connects
    assert {index for _, _, index in tally["log"]} == {0}
    times = [when for begin, end, _ in tally["log"] for when in (begin, end)]
    assert [before, *times, after] == sorted([before, *times, after])


def test_a_loop_leaves_no_thread_behind(pod, port):
    def threads():
        return len(os.listdir(f"/proc/{pod.pid}/task"))

    before = threads()
    for _ in range(5):
        pod.request("loop_stop", loop=pod.request("loop_start", address="127.0.0.1", port=port)["loop"])

    deadline = time.monotonic() + 5
    while threads() > before and time.monotonic() < deadline:  # a joined thread is gone a moment later
        time.sleep(0.01)
    assert threads() == before


def test_a_long_answer_arrives_whole(pod, port):
    errors = pod.request("connect_many", address="127.0.0.1", port=81, count=30000)["errors"]

    assert len(errors) == 30000  # more than fits into one message of the channel
    assert pod.request("netns_cookie")["cookie"] > 0
