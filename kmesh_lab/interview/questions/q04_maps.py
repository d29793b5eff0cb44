"""Question 4: what maps are for."""

from __future__ import annotations

import struct

from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.instruments import map_type, program_info
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict

__all__ = ["QUESTION"]

_TYPES = {
    "km_service": "hash",
    "km_socket": "sockhash",
    "km_sockstorage": "sk_storage",
    "km_tcp_probe": "ringbuf",
    "km_cgr_tailcall": "prog_array",
}


def _identity(stage: Stage) -> list[str]:
    """The programs of n1 as the kernel knows them, and the pods' processes."""
    ids = [program_info(program)["prog_id"] for program in stage.n1.datapath.programs.values()]
    return ids + [str(pod.pid) for pod in stage.lab.pods.values()]


def _only_maps(stage: Stage, it: Record) -> None:
    before, row = _identity(stage), stage.n1.maps.service[stage.inventory]
    stage.lab.apply(stage.service("STRICT"), endpoints=[stage.far])
    after, changed = _identity(stage), stage.n1.maps.service[stage.inventory]
    it.claimed(
        "the row of the service has another policy",
        "服务记录里的策略变了",
        f"{row.policy_name} → {changed.policy_name}",
        row.policy_name != changed.policy_name,
    )
    it.claimed(
        "every program and every process is the one from before",
        "所有程序、所有进程都还是原来的",
        f"{len(before)} ids compared",
        before == after,
    )
    stage.lab.apply(stage.inventory, endpoints=[stage.far])
    with stage.open() as connection:
        it.claimed(
            "the next connect follows",
            "下一次 connect 就按新策略走",
            connection.backend,
            connection.backend is stage.far,
        )


def _open_connections(stage: Stage, it: Record) -> None:
    with stage.open() as opened:
        first = stage.served(opened)
        stage.lab.apply(stage.inventory, endpoints=[stage.far])
        again = stage.served(opened)
        it.claimed(
            "the open connection is answered by the new pod", "已打开的连接由新 Pod 应答", again, again == "inventory-b"
        )
        it.instead("it stays with the pod it began with", "它一直留在最初的 Pod 上", again, again == first)


def _types(stage: Stage, it: Record) -> None:
    kernel = {name: map_type(stage.n1.datapath.maps[name]) for name in _TYPES}
    for name, wanted in _TYPES.items():
        it.claimed(f"{name} is a {wanted}", f"{name} 的类型是 {wanted}", kernel[name], kernel[name] == wanted)


def _storage_is_shared(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    storage = stage.n1.datapath.maps["km_sockstorage"]
    with stage.open() as one, stage.open() as other:
        rows = [storage.lookup(struct.pack("i", each.socket.fileno())) for each in (one, other)]
        it.claimed(
            "both sockets see the same value",
            "两个套接字看到同一个值",
            f"connect_ns {rows[0][:8].hex()} and {rows[1][:8].hex()}" if rows[0] and rows[1] else "none",
            rows[0] == rows[1],
        )
        it.instead(
            "each has a value of its own, which the kernel frees with the socket",
            "各有各的值，内核随套接字一起释放",
            f"{len(rows[0] or b'')} bytes per socket",
            all(rows) and rows[0] != rows[1],
        )


QUESTION = Question(
    4,
    Text(
        "What are maps for? Which map types does the mesh use, and why?",
        "map 是用来做什么的？网格用到了哪些 map 类型，为什么？",
    ),
    Answer(
        Text(
            "Maps are the memory that programs share with user space and with each other. The daemon writes the "
            "configuration into hash maps; the programs read them at each connect. Nothing is reloaded.",
            "map 是程序与用户态、程序与程序之间共享的内存。守护进程把配置写进哈希 map，程序在每次 connect 时读取，不需要重新加载。",
        ),
        Text(
            "Hash: km_frontend, km_service, km_endpoint, km_backend, one lookup each, a row replaced in one step. "
            "Sockhash: km_socket, because an sk_msg program is attached to such a map and runs for the sockets in it. "
            "Sk_storage: km_sockstorage, what one socket remembers from connect to close, freed with it. Ring buffer: "
            "km_tcp_probe, events in order to user space, one buffer for all CPUs. Prog array: km_cgr_tailcall, the "
            "program calls itself again to resolve the waypoint's address.",
            "哈希：km_frontend、km_service、km_endpoint、km_backend，各查一次，更新一行是原子的。"
            "sockhash：km_socket，sk_msg 程序挂在这种 map 上，只对其中的套接字运行。"
            "sk_storage：km_sockstorage，一个套接字从连接到关闭要记住的东西，随套接字释放。"
            "ring buffer：km_tcp_probe，把事件按顺序送到用户态，所有 CPU 共用一个缓冲区。"
            "prog array：km_cgr_tailcall，程序用尾调用再次调用自己，解析 waypoint 的地址。",
        ),
        Text(
            "address ─km_frontend─► service id ─km_service─► policy, counts, ports\n"
            "service id, prio, index ─km_endpoint─► backend uid ─km_backend─► pod address\n"
            "socket ─km_sockstorage─► original destination;  4-tuple ─km_socket─► sk_msg",
            "地址 ─km_frontend─► 服务 id ─km_service─► 策略、计数、端口\n"
            "服务 id、优先级、序号 ─km_endpoint─► 后端 uid ─km_backend─► Pod 地址\n"
            "套接字 ─km_sockstorage─► 原始目的地址；四元组 ─km_socket─► sk_msg",
        ),
    ),
    (
        FollowUp(
            Text("How can rows change under connects without a lock?", "没有锁，记录怎么能在连接进行中更新？"),
            Text(
                "By order: write what nobody points to yet, then replace the service row, then delete what is no longer "
                "counted. A reader that is half way may still meet a deleted row if nobody waits for a grace period.",
                "靠顺序：先写还没有人引用的记录，再替换服务记录，最后删除不再计数的记录。"
                "如果删除前不等待宽限期，走到一半的读者仍可能碰到已删除的记录。",
            ),
        ),
    ),
    (
        Text(
            "configuration is rows; a change is felt by the next connect", "配置就是记录；改动从下一次 connect 起生效"
        ),
        Text(
            "sockhash is where sk_msg is attached; sk_storage is per socket",
            "sk_msg 挂在 sockhash 上；sk_storage 属于每个套接字",
        ),
        Text("ring buffer for events, prog array for the tail call", "ring buffer 送事件，prog array 做尾调用"),
    ),
    (
        Claim(
            "4.1",
            Text("Changing policy only writes maps; nothing restarts.", "修改策略只需写 map，什么都不用重启。"),
            Verdict.HOLDS,
            Text(
                "programs and processes are the same ones before and after, and the next connect follows.",
                "前后是同一批程序、同一批进程，下一次 connect 就按新策略走。",
            ),
            ("pkg/controller/workload/workload_processor.go:742-840",),
            _only_maps,
        ),
        Claim(
            "4.2",
            Text("A change moves open connections, too.", "改动也会迁移已经打开的连接。"),
            Verdict.WRONG,
            Text(
                "maps are read in connect(2) and not again, so an open connection stays where it is.",
                "map 只在 connect(2) 时读取，所以已打开的连接原地不动。",
            ),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146",),
            _open_connections,
        ),
        Claim(
            "4.3",
            Text(
                "The mesh uses hash, sockhash, sk_storage, ring buffer and prog array.",
                "网格用到 hash、sockhash、sk_storage、ring buffer 和 prog array。",
            ),
            Verdict.HOLDS,
            Text("the kernel says so of each map.", "内核对每个 map 的回答正是如此。"),
            ("bpf/kmesh/workload/include/workload.h:66-121", "bpf/kmesh/workload/sockops.c:22-28"),
            _types,
        ),
        Claim(
            "4.4",
            Text(
                "All connections of a pod share one entry of km_sockstorage.",
                "一个 Pod 的所有连接共用 km_sockstorage 里的一条记录。",
            ),
            Verdict.WRONG,
            Text("each socket has its own, 64 bytes.", "每个套接字各有一条，64 字节。"),
            ("bpf/include/bpf_common.h:45-65",),
            _storage_is_shared,
            varies=True,
        ),
    ),
)
