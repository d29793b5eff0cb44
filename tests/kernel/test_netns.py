"""Namespaces without names, and the wire between the nodes of a lab."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from kmesh_lab.errors import KernelNotSupported, LabError, PodGone
from kmesh_lab.kernel import netns
from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.netns import Fabric, entered, netns_cookie, open_netns, run_in, run_in_new

pytestmark = pytest.mark.root

NewPod = Callable[..., int]


@pytest.fixture
def fabric() -> Iterator[Fabric]:
    with LabCgroup.create() as lab:
        fabric = Fabric(lab.path)
        yield fabric
        fabric.close()


@pytest.fixture
def new_pod(fabric: Fabric) -> Iterator[NewPod]:
    """Make a namespace that lives as long as the descriptor; with a name, plugged into the fabric."""
    pods = []

    def make(name: str = "", address: str = "", **options: bool) -> int:
        pod = run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        pods.append(pod)
        if name:
            fabric.plug(pod, name, ip_address(address), **options)
        return pod

    yield make
    for pod in pods:
        os.close(pod)


def interfaces(netns: int) -> list[str]:
    return run_in(netns, lambda: [name for _, name in socket.if_nameindex()])


def socket_for(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


def listen(address: str) -> socket.socket:
    server = socket_for(address)
    server.bind((address, 8080))
    server.listen()
    return server


def connect(address: str, port: int = 80) -> tuple[str, float]:
    """Do a blocking connect; return the name of its error, or "", and how long it took."""
    started = time.monotonic()
    with socket_for(address) as client:
        code = client.connect_ex((address, port))
    return errno.errorcode.get(code, ""), time.monotonic() - started


def addresses(netns: int, index: int) -> list[tuple[str, int, int]]:
    def read() -> list[tuple[str, int, int]]:
        with IPRoute() as ip:
            return [
                (message.get("address"), message["prefixlen"], message["flags"])
                for message in ip.get_addr(index=index)
                if message["index"] == index
            ]

    return run_in(netns, read)


def test_the_main_thread_never_enters_a_namespace(new_pod: NewPod) -> None:
    with pytest.raises(RuntimeError, match=r"use run_in\(netns, function\)"), entered(new_pod()):
        pass


def test_run_in_moves_its_own_thread_only(new_pod: NewPod) -> None:
    before = os.readlink("/proc/self/ns/net")
    pod = new_pod()
    assert run_in(pod, os.readlink, "/proc/thread-self/ns/net") == f"net:[{os.fstat(pod).st_ino}]"
    assert os.readlink("/proc/self/ns/net") == before


def test_a_thread_that_entered_a_namespace_is_back_home_afterwards(new_pod: NewPod) -> None:
    seen = []

    def work() -> None:
        with entered(new_pod()):
            seen.append(os.readlink("/proc/thread-self/ns/net"))
        seen.append(os.readlink("/proc/thread-self/ns/net"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] != seen[1] == os.readlink("/proc/self/ns/net")


def test_an_exception_in_a_namespace_reaches_the_caller(new_pod: NewPod) -> None:
    with pytest.raises(ZeroDivisionError):
        run_in(new_pod(), divmod, 1, 0)


def test_proc_sys_net_is_that_of_the_namespace(new_pod: NewPod) -> None:
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    before, other = forward.read_text(), "0" if forward.read_text() == "1\n" else "1"
    pod = new_pod()
    run_in(pod, forward.write_text, other)
    assert run_in(pod, forward.read_text) == f"{other}\n"
    assert forward.read_text() == before


def test_a_new_namespace_is_empty_and_has_no_name(new_pod: NewPod) -> None:
    named = os.listdir("/run/netns") if Path("/run/netns").exists() else []
    assert interfaces(new_pod()) == ["lo"]
    assert (os.listdir("/run/netns") if Path("/run/netns").exists() else []) == named


def test_the_namespace_of_a_process_is_opened_by_its_pid() -> None:
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    pod = open_netns(process.pid)
    assert f"net:[{os.fstat(pod).st_ino}]" == os.readlink(f"/proc/{process.pid}/ns/net")
    assert os.fstat(pod).st_ino != os.stat("/proc/self/ns/net").st_ino
    assert not os.get_inheritable(pod)
    os.close(pod)
    process.kill()
    process.communicate()


def test_a_process_that_has_ended_has_no_namespace_even_before_it_is_waited_for() -> None:
    process = subprocess.Popen(["true"])
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.001)
    with pytest.raises(PodGone, match=f"process {process.pid} has ended"):
        open_netns(process.pid)
    process.wait()
    with pytest.raises(PodGone, match=f"process {process.pid} has ended"):
        open_netns(process.pid)


def test_a_cookie_belongs_to_the_namespace_in_which_a_socket_was_made(new_pod: NewPod) -> None:
    pod = new_pod()
    first, second, ours = run_in(pod, socket.socket), run_in(pod, socket.socket), socket.socket()
    assert netns_cookie(first.fileno()) == netns_cookie(second.fileno()) != netns_cookie(ours.fileno())
    for sock in (first, second, ours):
        sock.close()


@pytest.mark.parametrize(("one", "two"), [("10.244.1.1", "10.244.2.1"), ("fd00:10:244:1::1", "fd00:10:244:2::1")])
def test_pods_of_two_nodes_reach_each_other_at_once(new_pod: NewPod, one: str, two: str) -> None:
    client_pod, server_pod = new_pod("shop", one), new_pod("inventory", two)
    with run_in(server_pod, listen, two) as server, run_in(client_pod, socket_for, one) as client:
        started = time.monotonic()
        client.connect((two, 8080))
        accepted, peer = server.accept()
        assert time.monotonic() - started < 0.5  # a lost SYN or neighbour solicitation costs a second
        with accepted:
            client.sendall(b"is item 42 in stock?")
            assert accepted.recv(64) == b"is item 42 in stock?"
        assert peer[0] == one


@pytest.mark.parametrize("prefix", ["10.244.1.", "fd00:10:244:1::"])
def test_a_new_pod_reaches_the_one_before_and_is_reached_by_it_without_a_lost_packet(
    new_pod: NewPod, prefix: str
) -> None:
    before = new_pod("pod-1", f"{prefix}1")
    slow = []
    for number in range(2, 12):
        pod = new_pod(f"pod-{number}", f"{prefix}{number}")
        there = run_in(before, connect, f"{prefix}{number}")[1]
        back = run_in(pod, connect, f"{prefix}{number - 1}")[1]
        slow += [(number, seconds) for seconds in (there, back) if seconds > 0.5]
        before = pod
    assert slow == []


@pytest.mark.parametrize(("address", "length"), [("10.244.3.7", 16), ("fd00:10:244:3::7", 48)])
def test_a_pod_has_one_address_and_it_is_usable(new_pod: NewPod, address: str, length: int) -> None:
    pod = new_pod("shop", address)
    assert interfaces(pod) == ["lo", "eth0"]
    [(found, prefix_length, flags)] = addresses(pod, run_in(pod, socket.if_nametoindex, "eth0"))
    assert (found, prefix_length) == (address, length)
    assert not flags & 0x40  # tentative


@pytest.mark.parametrize(("address", "vip"), [("10.244.1.1", "10.96.0.10"), ("fd00:10:244:1::1", "fd00:10:96::10")])
def test_a_connect_that_nobody_translates_fails_at_once(new_pod: NewPod, address: str, vip: str) -> None:
    pod = new_pod("shop", address)
    for _ in range(10):  # an ICMP error would be rate limited after a few
        error, seconds = run_in(pod, connect, vip)
        assert error == "EHOSTUNREACH"
        assert seconds < 0.5


@pytest.mark.parametrize(("address", "control"), [("10.244.1.1", "0.0.0.2"), ("fd00:10:244:1::1", "::2")])
def test_a_connect_to_a_control_address_sends_a_syn_and_is_reset(new_pod: NewPod, address: str, control: str) -> None:
    pod = new_pod("shop", address)
    error, seconds = run_in(pod, connect, control, 929)
    assert error == "ECONNREFUSED"
    assert seconds < 0.5


def test_a_pod_with_a_default_route_sends_the_rest_to_the_fabric(new_pod: NewPod) -> None:
    def begin() -> int:
        with socket.socket() as client:
            client.setblocking(False)
            return client.connect_ex(("10.96.0.10", 80))

    with_route = new_pod("sidecar", "10.244.1.2", default_route=True)
    assert run_in(new_pod("shop", "10.244.1.1"), begin) == errno.EHOSTUNREACH
    assert run_in(with_route, begin) == errno.EINPROGRESS


def test_a_pod_made_again_with_the_same_address_is_reached_at_once(fabric: Fabric, new_pod: NewPod) -> None:
    client = new_pod("shop", "10.244.1.1")
    new_pod("inventory", "10.244.1.2")
    assert run_in(client, connect, "10.244.1.2")[0] == "ECONNREFUSED"  # now the client knows its MAC
    fabric.unplug("inventory")
    new_pod("inventory", "10.244.1.2")
    error, seconds = run_in(client, connect, "10.244.1.2")
    assert error == "ECONNREFUSED"
    assert seconds < 0.5


def test_a_second_pod_of_the_same_name_is_refused(new_pod: NewPod) -> None:
    new_pod("shop", "10.244.1.1")
    with pytest.raises(LabError, match="pod 'shop' is already plugged into the fabric"):
        new_pod("shop", "10.244.1.2")


@pytest.mark.parametrize("address", ["10.244.0.1", "10.245.0.1", "fd00:10:244::1", "fd00:10:245::1", "127.0.0.1"])
def test_an_address_that_is_not_on_the_wire_is_refused(new_pod: NewPod, address: str) -> None:
    with pytest.raises(ValueError, match=f"pod 'shop': expected an address of .* not {address}"):
        new_pod("shop", address)


def test_a_pod_that_cannot_be_plugged_leaves_nothing_in_the_fabric(fabric: Fabric, new_pod: NewPod) -> None:
    pod = new_pod("shop", "10.244.1.1")
    before = interfaces(fabric.netns)
    with pytest.raises(LabError, match=r"pod 'again' was not plugged into the fabric: .*File exists"):
        fabric.plug(pod, "again", IPv4Address("10.244.1.2"))
    without_ipv6 = new_pod()
    run_in(without_ipv6, Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text, "1")
    with pytest.raises(LabError, match=r"pod 'again' was not plugged into the fabric: .*Permission denied"):
        fabric.plug(without_ipv6, "again", IPv6Address("fd00:10:244:1::1"))
    assert interfaces(fabric.netns) == before
    fabric.plug(without_ipv6, "again", IPv4Address("10.244.1.2"))


def test_an_ipv6_pod_on_a_machine_without_ipv6_is_refused(fabric: Fabric, new_pod: NewPod) -> None:
    fabric._ipv6 = False
    with pytest.raises(KernelNotSupported, match="pod 'shop': fd00:10:244:1::1, but IPv6 is off here"):
        new_pod("shop", "fd00:10:244:1::1")
    new_pod("shop", "10.244.1.1")


def test_a_read_only_proc_sys_as_in_small_containers_is_no_obstacle() -> None:
    script = """
import os
from ipaddress import ip_address
from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.netns import Fabric, run_in_new
assert not os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK)
with LabCgroup.create() as lab:
    fabric = Fabric(lab.path)
    for address in ("10.244.1.1", "fd00:10:244:1::1"):
        fabric.plug(run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY), address, ip_address(address))
    print(fabric)
    fabric.close()
"""
    mounts = "mount --make-rprivate / && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$0" -c "$1"', sys.executable, script]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.startswith("<Fabric 2 pods, held by process"), result.stderr


def test_a_closed_fabric_takes_no_pods(new_pod: NewPod) -> None:
    with LabCgroup.create() as lab:
        closed = Fabric(lab.path)
        closed.close()
    with pytest.raises(LabError, match="pod 'shop' cannot be plugged into a closed fabric"):
        closed.plug(new_pod(), "shop", IPv4Address("10.244.1.1"))


@pytest.mark.parametrize("step", ["open_netns", "_make_bridge"])
def test_a_fabric_that_is_not_finished_keeps_no_warden_and_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    wardens = []
    start_warden = netns._start_warden

    def start(lab: Path) -> subprocess.Popen[bytes]:
        wardens.append(start_warden(lab))
        return wardens[0]

    def too_late(*_: object) -> None:
        raise TimeoutError("too late")

    monkeypatch.setattr(netns, "_start_warden", start)
    monkeypatch.setattr(netns, step, too_late)
    with LabCgroup.create() as lab:
        before = len(os.listdir("/proc/self/fd"))

        with pytest.raises(TimeoutError, match="too late"):
            Fabric(lab.path)

        assert [warden.returncode for warden in wardens] == [0]
        assert len(os.listdir("/proc/self/fd")) == before


def test_unplugging_takes_eth0_away_and_frees_the_name(fabric: Fabric, new_pod: NewPod) -> None:
    pod = new_pod("shop", "10.244.1.1")
    fabric.unplug("shop")
    assert interfaces(pod) == ["lo"]
    assert interfaces(fabric.netns) == ["lo", "br0"]
    fabric.unplug("shop")
    fabric.plug(pod, "shop", IPv6Address("fd00:10:244:1::1"))
    assert interfaces(pod) == ["lo", "eth0"]


def test_the_namespace_of_a_pod_may_go_before_it_is_unplugged(fabric: Fabric) -> None:
    pod = run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    fabric.plug(pod, "shop", IPv4Address("10.244.1.1"))
    os.close(pod)
    deadline = time.monotonic() + 5
    while len(interfaces(fabric.netns)) > 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    fabric.unplug("shop")
    assert repr(fabric).startswith("<Fabric 0 pods")


def test_two_fabrics_do_not_see_each_other(fabric: Fabric, new_pod: NewPod) -> None:
    new_pod("shop", "10.244.1.1")
    pod = run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with LabCgroup.create() as lab:
        other = Fabric(lab.path)
        other.plug(pod, "shop", IPv4Address("10.244.1.2"))
        neighbours = run_in(pod, connect, "10.244.0.1")[0], interfaces(fabric.netns)
        other.close()
    os.close(pod)
    assert neighbours == ("ECONNREFUSED", ["lo", "br0", "pod1"])


def test_the_hosts_namespace_is_as_before() -> None:
    before = socket.if_nameindex(), Path("/proc/net/route").read_text(), Path("/proc/net/if_inet6").read_text()
    pod = run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with LabCgroup.create() as lab:
        fabric = Fabric(lab.path)
        fabric.plug(pod, "shop", IPv4Address("10.244.1.1"))
        during = socket.if_nameindex(), Path("/proc/net/route").read_text(), Path("/proc/net/if_inet6").read_text()
        fabric.close()
    os.close(pod)
    assert before == during


def test_plugging_and_unplugging_keeps_no_descriptor_and_no_thread(fabric: Fabric, new_pod: NewPod) -> None:
    pod = new_pod("first", "10.244.1.1")
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        fabric.unplug("first")
        fabric.plug(pod, "first", IPv4Address("10.244.1.1"))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_it_works_where_an_event_loop_runs_as_in_jupyter(new_pod: NewPod) -> None:
    async def cell() -> list[str]:
        return interfaces(new_pod("shop", "10.244.1.1"))

    assert asyncio.run(cell()) == ["lo", "eth0"]


def test_a_fabric_can_be_closed_while_the_interpreter_exits() -> None:
    script = """
import atexit, os
from ipaddress import ip_address
from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.netns import Fabric, run_in_new
lab = LabCgroup.create()
fabric = Fabric(lab.path)
fabric.plug(run_in_new(os.open, "/proc/thread-self/ns/net", os.O_RDONLY), "shop", ip_address("10.244.1.1"))
def close():
    fabric.unplug("shop"); lab.remove(); fabric.close(); print("closed", fabric)
atexit.register(close)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "closed <Fabric closed>\n"
    assert result.stderr == ""
