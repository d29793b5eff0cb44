"""A connection: real bytes of a real socket inside the pod, from this process, from any thread, in any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import kmesh_lab as km

pytestmark = pytest.mark.root


@pytest.fixture
def connection(open_all_day):
    with open_all_day.shop.connect(open_all_day.inventory) as connection:
        yield connection


def test_get_asks_as_often_as_one_likes(connection) -> None:
    assert connection.get("/stock/42") == "inventory-a: item 42: 7 in stock"
    assert connection.get("/stock/1") == "inventory-a: item 1: 7 in stock"
    assert connection.get("/nowhere") == "inventory-a: nothing at /nowhere; ask for /stock/42"


def test_send_and_recv_move_bytes(connection) -> None:
    assert connection.send(b"hello") == 5
    assert connection.recv() == b"inventory-a: hello"
    assert connection.send(b"again") == 5
    assert connection.recv(3) + connection.recv() == b"again"


def test_a_read_without_an_answer_ends_at_the_timeout(connection) -> None:
    connection.socket.settimeout(0.05)

    with pytest.raises(TimeoutError):
        connection.recv()


def test_reads_wait_five_seconds_unless_told_otherwise(connection) -> None:
    assert connection.socket.gettimeout() == 5


def test_a_large_request_arrives_whole(connection) -> None:
    data = os.urandom(1 << 20)
    with ThreadPoolExecutor() as threads:
        sent = threads.submit(connection.send, b"#" + data)
        received = b""
        while len(received) < len(data) + len(b"inventory-a: #"):
            received += connection.recv()

    assert sent.result() == len(data) + 1
    assert received == b"inventory-a: #" + data


def test_close_says_goodbye_and_a_second_time_does_nothing(connection) -> None:
    started = time.monotonic()
    connection.close()
    connection.close()

    assert time.monotonic() - started < 0.9  # the other side said goodbye, too
    assert connection.closed
    assert repr(connection).endswith(", closed>")
    assert connection.decision.steps[-1].story == "closed"


def test_a_closed_connection_says_what_to_do(connection, refused) -> None:
    connection.close()

    calls = [lambda: connection.send(b"x"), connection.recv, lambda: connection.get("/")]
    for call in calls:
        with refused(km.LabError, "this connection of pod 'shop' is closed; connect again"):
            call()


def test_close_does_not_wait_for_ever_for_a_peer_that_stays(open_all_day) -> None:
    day = open_all_day
    listener = day.far.process.request("socket", family=socket.AF_INET, type=socket.SOCK_STREAM).socket()
    with listener:
        listener.bind(("", 9999))
        listener.listen()
        connection = day.shop.connect(day.far, 9999)
        started = time.monotonic()
        connection.close()

    assert 0.9 < time.monotonic() - started < 2


def test_close_does_not_wait_for_ever_for_a_peer_that_keeps_sending(open_all_day) -> None:
    day = open_all_day
    listener = day.far.process.request("socket", family=socket.AF_INET, type=socket.SOCK_STREAM).socket()
    with listener, ThreadPoolExecutor() as threads:
        listener.bind(("", 9998))
        listener.listen()
        connection = day.shop.connect(day.far, 9998)
        talker, _ = listener.accept()
        enough, end = threading.Event(), time.monotonic() + 4

        def talk() -> None:
            with talker, contextlib.suppress(ConnectionError):
                while not enough.wait(0.05) and time.monotonic() < end:
                    talker.send(b"and another thing")

        threads.submit(talk)
        started = time.monotonic()
        connection.close()
        took = time.monotonic() - started
        enough.set()

    assert 0.9 < took < 2


def test_get_is_refused_on_udp(open_all_day, refused) -> None:
    with open_all_day.shop.connect(open_all_day.near, protocol="udp") as c:
        message = "GET is a question for TCP; this connection is UDP: use send() and recv()"
        with refused(km.LabError, message):
            c.get("/stock/42")


def test_threads_use_different_pods_and_the_same_pod_at_once(shop) -> None:
    pods = [shop.shop, *(shop.lab.pod(f"client-{i}", (shop.n1, shop.n2)[i % 2]) for i in range(3))]

    def talk(pod: km.Pod) -> tuple[set[str], km.Pod | None]:
        answers = set()
        for _ in range(50):
            with pod.connect(shop.inventory) as c:
                answers.add(c.get("/stock/42"))
                assert len(c.decision.steps) == 8
                backend = c.backend
        return answers, backend

    with ThreadPoolExecutor(max_workers=8) as threads:
        told = list(threads.map(talk, pods * 2))

    near = ({"inventory-a: item 42: 7 in stock"}, shop.near)
    far = ({"inventory-b: item 42: 7 in stock"}, shop.far)
    assert told == [near, near, far, near] * 2


def test_threads_make_and_delete_pods_at_once(shop) -> None:
    def live(number: int) -> str:
        pod = shop.lab.pod(f"pod-{number}", shop.n1)
        said = pod.connect(shop.inventory).get("/stock/42")
        shop.lab.delete(pod)
        return said

    with ThreadPoolExecutor(max_workers=4) as threads:
        said = list(threads.map(live, range(8)))

    assert said == ["inventory-a: item 42: 7 in stock"] * 8
    assert set(shop.lab.pods) == {"shop", "inventory-a", "inventory-b"}


def test_everything_works_inside_a_running_event_loop() -> None:
    async def notebook() -> list[object]:
        with km.Lab() as lab:
            node = lab.node("n1")
            client, server = lab.pod("shop", node), lab.pod("inventory-a", node, listen=8080)
            service = km.Service("inventory", "10.96.0.10", {80: 8080})
            lab.apply(service, [server], waypoint=lab.waypoint("waypoint", node))
            await asyncio.sleep(0)
            with lab.events() as events, client.connect(service) as c:
                said = c.get("/stock/42")
            lab.delete(server)
            return [said, len(events), await asyncio.to_thread(client.connect_many, "waypoint", count=2)]

    said, seen, many = asyncio.run(notebook(), debug=False)

    assert said == "inventory-a: item 42: 7 in stock"
    assert seen == 4  # both sides of waypoint → server, one of shop → waypoint, which is not in the mesh itself
    assert many == {"waypoint": 2}
