"""What a pod serves: HTTP about the stock, and an echo."""

import asyncio
import gc
import socket
import threading
from contextlib import suppress

import pytest

from kmesh_lab.traffic.server import response, run_streams

ITEM_42 = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 33\r\n\r\n"
    b"inventory-a: item 42: 7 in stock\n"
)


@pytest.fixture
def port(pod):
    return pod.request("listen", port=8080)["port"]


def exactly(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        assert more, f"the stream ended after {data!r}"
        data += more
    return data


def test_the_stock_of_an_item_depends_on_its_number_only():
    head = b"GET /stock/7 HTTP/1.1\r\n\r\n"

    assert response("inventory-a", head)[0].endswith(b"inventory-a: item 7: 8 in stock\n")
    assert response("inventory-b", head)[0].endswith(b"inventory-b: item 7: 8 in stock\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET /stock/blue HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /stock/ HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /stocks HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"FETCH /stock/42 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET stock HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /stock/42 HTTP/2\r\n\r\n", b"400 Bad Request"),
        (b"\r\n", b"400 Bad Request"),
        (b"\xff\xfe\r\n", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"411 Length Required"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"411 Length Required"),
        (b"GET /" + b"x" * 65536 + b" HTTP/1.1\r\n\r\n", b"431 Request Header Fields Too Large"),
    ],
)
def test_every_request_gets_a_status(head, status):
    assert response("inventory-a", head)[0].startswith(b"HTTP/1.1 " + status + b"\r\n")


def test_head_has_no_body_but_its_length():
    answer, _, _ = response("inventory-a", b"HEAD /stock/42 HTTP/1.1\r\n\r\n")

    assert answer == ITEM_42[: -len(b"inventory-a: item 42: 7 in stock\n")]


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET /\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"nonsense\r\n", False),
    ],
)
def test_a_connection_is_kept_unless_the_client_does_not_want_it(head, keep):
    answer, _, kept = response("inventory-a", head)

    assert kept is keep
    assert (b"\r\nconnection: close\r\n" in answer) is not keep


@pytest.mark.root
def test_one_connection_serves_many_requests_also_several_at_once(pod, port, connect):
    with connect(pod, "127.0.0.1", port) as sock:
        sock.send(b"GET /stock/42 HTTP/1.1\r\nHost: inventory\r\n\r\n")
        assert exactly(sock, len(ITEM_42)) == ITEM_42
        sock.send(b"GET /stock/42 HTTP/1.1\r\n\r\n" * 3)
        assert exactly(sock, 3 * len(ITEM_42)) == 3 * ITEM_42


@pytest.mark.root
def test_a_request_may_come_byte_by_byte_and_with_a_body(pod, port, connect, receive_all):
    with connect(pod, "127.0.0.1", port) as sock:
        for byte in b"POST /stock/42 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /stock/42 HTTP/1.0\r\n\r\n":
            sock.send(bytes([byte]))
        first, second = exactly(sock, len(ITEM_42)), receive_all(sock)

    assert first == ITEM_42
    assert second == ITEM_42.replace(b"33\r\n", b"33\r\nconnection: close\r\n")


@pytest.mark.root
def test_a_request_typed_without_an_end_of_line_is_answered(pod, port, connect):
    with connect(pod, "127.0.0.1", port) as sock:
        for _ in range(2):
            sock.send(b"GET /stock/42")
            assert exactly(sock, len(ITEM_42)) == ITEM_42


@pytest.mark.root
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("data", [b"hello", b"GETTING THERE", b"G", b"\x01\x00\x00\x00\x06"])
def test_bytes_that_are_no_request_come_back_behind_the_name_of_the_pod(pod, port, connect, address, data):
    with connect(pod, address, port) as sock:
        sock.send(data)
        assert exactly(sock, 13 + len(data)) == b"inventory-a: " + data
        sock.send(b" and more")
        assert exactly(sock, 9) == b" and more"


@pytest.mark.root
def test_the_end_of_the_request_direction_ends_the_answer(pod, port, connect, receive_all):
    with connect(pod, "127.0.0.1", port) as sock:
        sock.send(b"hello")
        sock.shutdown(1)
        assert receive_all(sock) == b"inventory-a: hello"
    with connect(pod, "127.0.0.1", port) as sock:
        sock.shutdown(1)
        assert receive_all(sock) == b""


@pytest.mark.root
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_each_datagram_comes_back_behind_the_name_of_the_pod(pod, connect, address):
    pod.request("listen", port=5353, protocol="udp", name="dns")

    with connect(pod, address, 5353, protocol="udp") as sock:
        for data in (b"one", b"GET /stock/42", b""):
            sock.send(data)
            assert sock.recv(100) == b"dns: " + data


@pytest.mark.root
def test_the_answer_to_one_client_does_not_wait_for_another(pod, port, connect):
    with connect(pod, "127.0.0.1", port) as silent, connect(pod, "127.0.0.1", port) as sock:
        silent.send(b"GET /stock/42 HTTP/1.1\r\n")
        sock.send(b"GET /stock/42 HTTP/1.1\r\n\r\n")
        assert exactly(sock, len(ITEM_42)) == ITEM_42


@pytest.mark.root
def test_hundreds_of_connections_are_open_at_the_same_time_without_a_thread_each(pod, port, connect):
    def threads():
        with open(f"/proc/{pod.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))

    with connect(pod, "127.0.0.1", port) as sock:  # the server is there
        sock.send(b"first")
        exactly(sock, 18)
    before = threads()
    socks = [connect(pod, "127.0.0.1", port) for _ in range(300)]
    for number, sock in enumerate(socks):
        sock.send(b"%03d" % number)
    answers = [exactly(sock, 16) for sock in socks]
    during = threads()
    for sock in socks:
        sock.close()

    assert answers == [b"inventory-a: %03d" % number for number in range(300)]
    assert during == before == threads()


@pytest.mark.root
def test_a_client_that_resets_does_not_disturb_the_server(pod, port, connect):
    assert pod.request("connect_many", address="127.0.0.1", port=port, count=2000)["errors"] == []

    with connect(pod, "127.0.0.1", port) as sock:
        sock.send(b"hello")
        assert exactly(sock, 18) == b"inventory-a: hello"


@pytest.mark.root
def test_a_long_echo_is_complete(pod, port, connect, receive_all):
    data = bytes(range(256)) * 4096

    with connect(pod, "127.0.0.1", port) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(1)))
        sender.start()
        echoed = receive_all(sock)
        sender.join()

    assert echoed == b"inventory-a: " + data


def test_an_answer_that_takes_long_still_reaches_a_client_that_has_closed_its_half():
    """All that asyncio itself knows of such a handler is a cycle, which the next garbage collection would take away."""
    ours, theirs = socket.socketpair()

    async def talk():
        waits = asyncio.Event()

        async def ask_somebody(reader, writer):
            await reader.read()  # until the client has closed its half
            somebody, _ = await asyncio.open_connection(sock=theirs)
            waits.set()
            writer.write(await somebody.read(100))

        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(run_streams([listener], ask_somebody))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write_eof()
        await waits.wait()
        await asyncio.sleep(0)
        gc.collect()
        ours.send(b"at last")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        return answer

    with ours, theirs:
        assert asyncio.run(talk()) == b"at last"
