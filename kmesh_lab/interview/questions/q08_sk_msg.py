"""Question 8: how a socket comes to be handled by sk_msg."""

from __future__ import annotations

import ipaddress
import time

from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.instruments import counting_runs
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.lab.connection import Connection

__all__ = ["QUESTION"]

_PATIENCE = 1.0  # seconds; on a busy machine the other side says goodbye late


def _keys(stage: Stage, connection: Connection) -> list[bytes]:
    """The keys of km_socket that have the local port of this connection."""
    port = connection.socket.getsockname()[1].to_bytes(2, "big")
    return [key for key in _all_keys(stage) if key[8:10] == port]


def _all_keys(stage: Stage) -> list[bytes]:
    return list(stage.n1.datapath.maps["km_socket"].keys())


def _every_send_runs(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    program = stage.n1.datapath.programs["sendmsg_prog"]
    with stage.open() as connection:
        kinds = [step.kind for step in connection.decision.steps]
        it.claimed(
            "when the handshake is done, sockops puts the socket into km_socket",
            "握手完成时 sockops 把套接字放进 km_socket",
            " → ".join(kinds[-2:]),
            kinds[-2:] == ["ESTABLISHED", "SOCKHASH"],
        )
        with counting_runs(program) as counted:
            for _ in range(3):
                stage.served(connection)
        it.claimed(
            "three requests run the sk_msg program three times",
            "三个请求让 sk_msg 程序运行三次",
            f"{counted['run_cnt']} runs",
            counted["run_cnt"] == 3,
        )


def _all_connections(stage: Stage, it: Record) -> None:
    program = stage.n1.datapath.programs["sendmsg_prog"]
    with stage.open() as connection, counting_runs(program) as counted:
        stage.served(connection)
        it.claimed(
            "a connection without a waypoint is in km_socket",
            "不走 waypoint 的连接也在 km_socket 里",
            f"{len(_keys(stage, connection))} keys",
            bool(_keys(stage, connection)),
        )
    it.instead(
        "it is not, and its sends do not run the program",
        "不在里面，它的发送也不会运行该程序",
        f"{counted['run_cnt']} runs",
        counted["run_cnt"] == 0,
    )


def _cookie(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        (key,) = _keys(stage, connection)
        local, peer = connection.socket.getsockname(), connection.socket.getpeername()
        it.claimed(
            "the key holds the socket cookie",
            "键里是套接字 cookie",
            f"{len(key)} bytes",
            connection.cookie.to_bytes(8, "little") in key,
        )
        ends = [ipaddress.ip_address(local[0]).packed, ipaddress.ip_address(peer[0]).packed]
        wanted = b"".join(ends) + local[1].to_bytes(2, "big") + peer[1].to_bytes(2, "big") + bytes(24)
        it.instead(
            "36 bytes: local and remote address, local and remote port, network order, the rest zero",
            "36 字节：本地与远端地址、本地与远端端口，网络字节序，其余为 0",
            f"{ipaddress.ip_address(key[:4])} → {ipaddress.ip_address(key[4:8])}, {len(key)} bytes",
            key == wanted,
        )


def _value(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        (key,) = _keys(stage, connection)
        answers = []
        for wanted in (key, bytes(36)):
            try:
                answers.append(str(stage.n1.datapath.maps["km_socket"].lookup(wanted)))
            except OSError as error:
                answers.append(str(error.strerror or error))
    it.claimed(
        "a lookup from user space returns the value of a key that is there",
        "用户态查找存在的键能得到值",
        answers[0],
        "No space" not in answers[0],
    )
    it.instead(
        "with values of 4 bytes it fails in the same way for keys that are there and keys that are not",
        "值为 4 字节时，存在的键和不存在的键都以同样的方式失败",
        " / ".join(answers),
        answers[0].rpartition(":")[2] == answers[1].rpartition(":")[2],
    )


def _removed(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    program = stage.n1.datapath.programs["sockops_prog"]
    with stage.open() as connection:
        (key,) = _keys(stage, connection)
    end = time.monotonic() + _PATIENCE
    while (left := key in _all_keys(stage)) and time.monotonic() < end:
        time.sleep(0.01)
    text = stage.n1.datapath.module.text
    it.claimed(
        "a program or the daemon deletes the entry when the connection is closed",
        "连接关闭时由程序或守护进程删除表项",
        f"km_socket.delete in the C of {program.name}: {'km_socket.delete' in text}",
        "km_socket.delete" in text or "km_socket.sock_hash_delete" in text,
    )
    it.instead(
        "nobody deletes, and it is gone: the kernel takes a socket that closes out of the map",
        "没有人删除，它却消失了：内核在套接字关闭时把它移出 map",
        f"there after the close: {left}",
        not left,
    )


QUESTION = Question(
    8,
    Text(
        "How does a socket come to be handled by the sk_msg program? What is the key, what is the value, when is it "
        "removed?",
        "套接字是怎样交给 sk_msg 程序处理的？键是什么，值是什么，什么时候移除？",
    ),
    Answer(
        Text(
            "sk_msg is attached to the sockhash km_socket, not to a cgroup. When a connection to a waypoint is "
            "established, sockops puts its socket into the map under its four-tuple. From then on each send runs the "
            "program. The kernel removes the socket when it closes.",
            "sk_msg 挂在 sockhash km_socket 上，而不是挂在 cgroup 上。去往 waypoint 的连接建立后，sockops 以四元组为键把套接字放进 map，"
            "此后每次发送都会运行程序。套接字关闭时由内核移除。",
        ),
        Text(
            "connect hook: via_waypoint in the socket's storage. sockops, ACTIVE_ESTABLISHED, pod's address in km_manage: "
            "bpf_sock_hash_update with BPF_ANY. Key: bpf_sock_tuple, 36 bytes, local side first, all in network order; the "
            "v6 form for mapped addresses. Value: for the kernel the socket itself, declared as u32, so user space cannot "
            "look it up (ENOSPC for any key). At most 8192 entries: the next connection stays outside and sends no TLV.",
            "connect 钩子在套接字存储里标记 via_waypoint。sockops 在 ACTIVE_ESTABLISHED 时，如果 Pod 地址在 km_manage 中，"
            "用 BPF_ANY 调用 bpf_sock_hash_update。键：bpf_sock_tuple，36 字节，本地在前，全部网络字节序；映射地址用 v6 形式。"
            "值：对内核来说就是套接字本身，声明为 u32，所以用户态查不到（任何键都返回 ENOSPC）。最多 8192 项：再多的连接进不去，也就不发 TLV。",
        ),
        Text(
            "connect4 ─ via_waypoint ─► km_sockstorage\n"
            "SYN-ACK ─ sockops ─► km_socket[saddr daddr sport dport] = socket\n"
            "send(2) ─ sk_msg ─► TLV + data        close ─ kernel ─► entry gone",
            "connect4 ─ via_waypoint ─► km_sockstorage\n"
            "SYN-ACK ─ sockops ─► km_socket[saddr daddr sport dport] = 套接字\n"
            "send(2) ─ sk_msg ─► TLV + 数据        close ─ 内核 ─► 表项消失",
        ),
    ),
    (
        FollowUp(
            Text("How do you test that the socket is in the map?", "怎样测试套接字确实在 map 里？"),
            Text(
                "Not by a lookup: it fails in the same way for every key. Walk the keys with get_next_key, or look at what "
                "the program did: the TLV arrives.",
                "不能用查找：任何键的查找都同样失败。用 get_next_key 遍历键，或者看程序的效果：TLV 是否到达。",
            ),
        ),
    ),
    (
        Text("attached to the sockhash; sockops inserts when established", "挂在 sockhash 上；建连时由 sockops 放入"),
        Text("key: four-tuple in network order; value: the socket", "键：网络字节序的四元组；值：套接字"),
        Text("removed by the kernel at close", "关闭时由内核移除"),
    ),
    (
        Claim(
            "8.1",
            Text(
                "sockops puts the socket into a sockhash; from then on each send runs the sk_msg program.",
                "sockops 把套接字放进 sockhash，此后每次发送都运行 sk_msg 程序。",
            ),
            Verdict.HOLDS,
            Text("each send runs it; only the first one is changed by it.", "每次发送都会运行，但只有第一次被修改。"),
            ("bpf/kmesh/workload/sockops.c:58-76", "pkg/bpf/workload/sendmsg.go:138-146"),
            _every_send_runs,
        ),
        Claim(
            "8.2",
            Text("Every connection of an enrolled pod is in it.", "被纳管 Pod 的每条连接都在里面。"),
            Verdict.WRONG,
            Text("only those that go to a waypoint.", "只有去往 waypoint 的连接。"),
            ("bpf/kmesh/workload/sockops.c:152-200",),
            _all_connections,
        ),
        Claim(
            "8.3",
            Text("The key is the socket cookie.", "键是套接字 cookie。"),
            Verdict.WRONG,
            Text("it is the four-tuple, as struct bpf_sock_tuple.", "键是四元组，即 struct bpf_sock_tuple。"),
            ("bpf/kmesh/workload/sockops.c:58-76",),
            _cookie,
        ),
        Claim(
            "8.4",
            Text(
                "User space can look the value up to see if the socket is there.",
                "用户态可以通过查找值来判断套接字是否存在。",
            ),
            Verdict.WRONG,
            Text(
                "values of 4 bytes cannot be looked up at all. A test of Kmesh that does it proves nothing.",
                "4 字节的值根本无法查找。Kmesh 中这样做的单元测试什么也证明不了。",
            ),
            ("bpf/kmesh/workload/sockops.c:22-28", "test/bpf_ut/bpftest/workload_test.go"),
            _value,
        ),
        Claim(
            "8.5",
            Text("The program or the daemon removes it at close.", "关闭时由程序或守护进程移除它。"),
            Verdict.WRONG,
            Text("the kernel does, for every sockmap and sockhash.", "由内核移除，所有 sockmap 和 sockhash 都是这样。"),
            ("bpf/kmesh/workload/sockops.c:152-200",),
            _removed,
        ),
    ),
)
