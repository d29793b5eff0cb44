"""The process of a pod: where it lives, how it starts, answers and ends."""

import errno
import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from kmesh_lab.errors import LabError, PodGone
from kmesh_lab.traffic import PodProcess

pytestmark = pytest.mark.root

SO_NETNS_COOKIE = 71


def netns_cookie_of(sock):
    return struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]


@contextmanager
def interrupted_after(seconds):
    """Interrupt what runs in the block, and expect that it does not go on."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt("as Ctrl-C does in a notebook")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(KeyboardInterrupt, match="in a notebook"):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def open_descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_a_pod_is_in_its_cgroup_and_in_a_network_namespace_of_its_own(cgroup, pod, start):
    other = start("inventory-b")

    assert sorted(map(int, (cgroup / "cgroup.procs").read_text().split())) == sorted([pod.pid, other.pid])
    namespaces = {os.stat(f"/proc/{process}/ns/net").st_ino for process in (pod.pid, other.pid, "self")}
    assert len(namespaces) == 3
    assert os.fstat(pod.netns_fd).st_ino == os.stat(f"/proc/{pod.pid}/ns/net").st_ino


def test_every_thread_of_a_pod_is_in_its_network_namespace(pod):
    pod.request("listen", port=8080)
    pod.request("loop_start", address="127.0.0.1", port=8080, pause=0.01)

    tasks = os.listdir(f"/proc/{pod.pid}/task")
    assert len(tasks) >= 4
    assert {os.readlink(f"/proc/{pod.pid}/task/{task}/ns/net") for task in tasks} == {
        os.readlink(f"/proc/{pod.pid}/ns/net")
    }


def test_a_socket_that_a_pod_passes_on_belongs_to_the_namespace_of_the_pod(pod, connect):
    pod.request("listen", port=8080)

    with connect(pod, "127.0.0.1", 8080) as sock, socket.socket() as ours:
        assert netns_cookie_of(sock) == pod.request("netns_cookie")["cookie"]
        assert netns_cookie_of(sock) != netns_cookie_of(ours)
        assert sock.getpeername() == ("127.0.0.1", 8080)
    with socket.socket() as ours:
        assert ours.connect_ex(("127.0.0.1", 8080)) == errno.ECONNREFUSED  # the owner is not in that namespace


def test_a_pod_makes_sockets_of_any_kind(pod):
    with pod.request("socket", family=socket.AF_PACKET, type=socket.SOCK_RAW, proto=0x0300).socket() as sock:
        assert (sock.family, sock.type) == (socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("lo", 0))


def test_a_pod_is_started_without_the_package_it_comes_from(pod):
    with open(f"/proc/{pod.pid}/cmdline") as file:
        _, *command = file.read().rstrip("\0").split("\0")
    with open(f"/proc/{pod.pid}/maps") as file:
        mapped = file.read()

    assert command[:2] == ["-I", "-S"]
    assert command[3:5] == ["agent", "inventory-a"]
    assert "site-packages" not in mapped


def test_several_pods_start_at_the_same_time(cgroup):
    pods = [PodProcess(f"pod-{number}", cgroup) for number in range(6)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(PodProcess.start, pods))
    for pod in pods:
        pod.wait_ready()

    assert len({pod.request("netns_cookie")["cookie"] for pod in pods}) == 6
    for pod in pods:
        pod.close()


def test_a_request_waits_until_the_pod_is_ready(cgroup):
    pod = PodProcess("shop", cgroup).start()

    assert pod.request("netns_cookie")["cookie"] > 0
    pod.close()


def test_requests_of_many_threads_each_get_their_own_answer(pod):
    pod.request("listen", port=8080)

    def connect(number):
        reply = pod.request("connect", address=f"127.0.0.{number}", port=8080)
        with reply.socket() as sock:
            return sock.getpeername()[0], reply["peer"][0]

    with ThreadPoolExecutor(16) as pool:
        peers = list(pool.map(connect, range(1, 201)))

    assert peers == [(f"127.0.0.{number}", f"127.0.0.{number}") for number in range(1, 201)]


def test_an_interrupted_request_does_not_spoil_the_next_one(pod):
    pod.request("listen", port=8080)

    with interrupted_after(0.05):
        pod.request("connect_many", address="127.0.0.1", port=8080, count=3000)

    assert pod.request("netns_cookie").values.keys() == {"cookie"}


def test_addresses_may_be_objects(pod):
    pod.request("listen", port=8080)

    assert pod.request("connect_many", address=ip_address("::1"), port=8080, count=1)["peers"] == [["::1", 8080, 1]]


@pytest.mark.parametrize(
    ("op", "fields", "code", "text"),
    [
        ("sing", {}, errno.EINVAL, "no such operation: expected one of connect, connect_many, control, listen,"),
        ("connect", {"address": "inventory", "port": 80}, errno.EINVAL, "'inventory' is not an IPv4 or IPv6 address"),
        ("connect", {"address": "10.0.0.1"}, errno.EINVAL, "missing 1 required positional argument: 'port'"),
        ("connect", {"address": "10.0.0.1", "port": 65536}, errno.EINVAL, "65536 is not a port"),
        ("connect", {"address": "10.0.0.1", "port": 80, "protocol": "sctp"}, errno.EINVAL, "protocol 'sctp'"),
        ("control", {"port": 931}, errno.EINVAL, "expected port 929 or 930"),
        ("control", {"port": 929}, errno.ENETUNREACH, "0.0.0.2 port 929: Network is unreachable"),
        ("socket", {"family": 2, "type": 99}, errno.EINVAL, "Invalid argument"),
        ("loop_stop", {"loop": 1}, errno.EINVAL, "no loop 1: running are []"),
    ],
)
def test_what_a_pod_cannot_do_is_an_error_with_errno_and_reason_and_the_pod_lives(pod, op, fields, code, text):
    with pytest.raises(OSError, match=f"pod 'inventory-a': {op}: ") as caught:
        pod.request(op, **fields)

    assert caught.value.errno == code
    assert text in str(caught.value)
    assert pod.request("netns_cookie")["cookie"] > 0


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_that_is_taken_is_refused(pod, protocol):
    pod.request("listen", port=8080, protocol=protocol)

    with pytest.raises(OSError, match=r"0\.0\.0\.0 port 8080: Address already in use") as caught:
        pod.request("listen", port=8080, protocol=protocol)
    assert caught.value.errno == errno.EADDRINUSE


def test_port_0_is_a_free_one_for_both_families(pod, connect):
    port = pod.request("listen", port=0)["port"]

    assert port > 0
    for address in ("127.0.0.1", "::1"):
        connect(pod, address, port).close()


def test_the_control_connect_succeeds_when_a_handshake_has_begun(pod, unanswered):
    # With a route, nobody answers at 0.0.0.2: the connect is under way, and that is all that the programs need.
    with pod.request("socket", family=socket.AF_NETLINK, type=socket.SOCK_RAW).socket() as netlink:
        loopback, gateway = 1, socket.inet_aton("127.0.0.1")
        attributes = struct.pack("HHiHH4s", 8, 4, loopback, 8, 5, gateway)
        route = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 253, 1, 0) + attributes
        netlink.send(struct.pack("IHHII", 16 + len(route), 24, 0x0405, 1, 0) + route)
        assert struct.unpack_from("i", netlink.recv(1000), 16) == (0,)

    assert pod.request("control", port=929).values == {}
    assert pod.request("control", port=930).values == {}


def test_a_pod_that_was_killed_says_so(pod):
    os.kill(pod.pid, signal.SIGKILL)

    for _ in range(2):
        with pytest.raises(PodGone) as caught:
            pod.request("netns_cookie")
        assert str(caught.value) == (
            "the process of pod 'inventory-a' has ended (killed by signal 9); delete the pod and make it again"
        )
    assert not pod.alive


def test_a_request_that_is_under_way_ends_with_the_pod(pod, unanswered):
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(pod.request, "connect", address="127.0.0.1", port=unanswered, timeout=60)
        time.sleep(0.1)
        os.kill(pod.pid, signal.SIGKILL)
        assert isinstance(answer.exception(timeout=2), PodGone)


def test_closing_ends_the_pod_at_once_also_while_it_is_busy(pod, unanswered, ends):
    pid = pod.pid
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(pod.request, "connect", address="127.0.0.1", port=unanswered, timeout=60)
        time.sleep(0.1)
        start = time.monotonic()
        pod.close()
        assert time.monotonic() - start < 2
        assert ends(pid, 0)
        assert "pod 'inventory-a' is closed" in str(answer.exception(timeout=2))


def test_a_pod_that_does_not_listen_is_killed(pod, ends):
    pid = pod.pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    start = time.monotonic()
    pod.close()

    assert 0.25 < time.monotonic() - start < 2
    assert ends(pid, 0)


def test_ctrl_c_while_a_pod_is_closed_leaves_neither_its_process_nor_a_descriptor(start, ends):
    descriptors = open_descriptors()
    pod = start("shop")
    pid = pod.pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)

    with interrupted_after(0.1):
        pod.close()

    assert ends(pid, 0)
    assert open_descriptors() == descriptors


def test_closing_twice_and_closing_before_the_start_do_nothing(cgroup, pod):
    PodProcess("shop", cgroup).close()
    pod.close()
    pod.close()

    with pytest.raises(PodGone, match="pod 'inventory-a' is closed; make it again"):
        pod.request("netns_cookie")
    with pytest.raises(LabError, match="pod 'inventory-a' has no network namespace"):
        _ = pod.netns_fd
    with pytest.raises(LabError, match="pod 'shop' has not been started"):
        PodProcess("shop", cgroup).request("netns_cookie")
    with pytest.raises(LabError, match="pod 'inventory-a' has been started already"):
        pod.start()


def test_ctrl_c_does_not_reach_a_pod(pod):
    os.kill(pod.pid, signal.SIGINT)

    assert pod.request("netns_cookie")["cookie"] > 0
    assert os.getsid(pod.pid) == pod.pid


OWNER = """
import sys, time
from kmesh_lab.traffic import PodProcess
pods = [PodProcess(script, sys.argv[1], script).start() for script in ("agent", "waypoint")]
for pod in pods:
    pod.wait_ready()
pods[0].request("listen", port=8080)
pods[0].request("loop_start", address="10.0.0.1", port=80)
print(*[pod.pid for pod in pods], flush=True)
time.sleep(60)
"""


def test_pods_end_when_their_owner_is_killed(cgroup, ends):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(cgroup)], stdout=subprocess.PIPE, text=True)
    with owner:
        pids = list(map(int, owner.stdout.readline().split()))
        assert sorted(map(int, (cgroup / "cgroup.procs").read_text().split())) == sorted(pids)
        owner.kill()

        assert len(pids) == 2
        assert all(ends(pid, 1) for pid in pids)


def test_a_pod_that_cannot_join_its_cgroup_says_so_and_is_gone(cgroup):
    pod = PodProcess("shop", cgroup / "missing")
    pod.start()

    with pytest.raises(FileNotFoundError, match=rf"pod 'shop': cannot join the cgroup {cgroup}/missing: No such file"):
        pod.wait_ready()
    assert not pod.alive


def test_a_pod_whose_python_fails_says_why(cgroup, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pod = PodProcess("shop", cgroup).start()
    with pytest.raises(PodGone, match=r"the process of pod 'shop' has ended \(exit status 1\)"):
        pod.wait_ready()
    pod.close()

    monkeypatch.setattr(sys, "executable", "/usr/bin/env")  # env knows no -I: its last words are in the message
    pod = PodProcess("shop", cgroup).start()
    with pytest.raises(PodGone, match=r"has ended \(exit status 125: .*env.*\)"):
        pod.wait_ready()
    pod.close()

    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(FileNotFoundError):
        PodProcess("shop", cgroup).start()


def test_a_pod_leaves_no_descriptor_and_no_thread_behind(cgroup, start):
    start("warm-up").close()
    descriptors, threads = open_descriptors(), threading.active_count()

    for _ in range(3):
        with PodProcess("shop", cgroup) as pod:
            pod.request("listen", port=8080)
        with pytest.raises(FileNotFoundError), PodProcess("shop", cgroup / "missing"):
            pass
    dead = start("dead")
    os.kill(dead.pid, signal.SIGKILL)
    with pytest.raises(PodGone):
        dead.request("netns_cookie")
    dead.close()

    assert (open_descriptors(), threading.active_count()) == (descriptors, threads)


def test_no_descriptor_of_the_owner_is_open_in_a_pod(pod, start):
    start("inventory-b")  # after the first one: its channel must not be in the second one
    with open(os.devnull) as ours:
        os.set_inheritable(ours.fileno(), True)
        third = start("inventory-c")
        third.request("netns_cookie")  # by now it has closed what it passed on before
        links = [os.readlink(f"/proc/{third.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{third.pid}/fd")]

    # Standard input and output, standard error, the channel.
    assert sorted(link.split(":")[0] for link in links) == ["/dev/null", "/dev/null", "/memfd", "socket"]
