"""Question 1: what Kmesh is, and what a sidecar costs."""

from __future__ import annotations

from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.instruments import packets, switches
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.lab import Pod
from kmesh_lab.mesh import Service

__all__ = ["QUESTION"]

_REQUESTS = 50


def _proxy_memory(stage: Stage, it: Record) -> None:
    proxies = [envoy.memory.private for envoy in stage.sidecars.envoys]
    before, programs = stage.n1.datapath.memory(), len(stage.n1.datapath.programs)
    new = stage.lab.pod("new", node=stage.n1)
    try:
        grown = stage.n1.datapath.memory() - before
        same = len(stage.n1.datapath.programs) == programs
    finally:
        stage.lab.delete(new)
    it.claimed(
        "each Envoy has more memory of its own than one more pod costs in the node's maps",
        "每个 Envoy 独占的内存，都多于新增一个 Pod 在节点 map 中的开销",
        f"Envoys {' and '.join(f'{size:,}' for size in proxies)} B, maps grew by {grown:,} B",
        min(proxies) > grown,
    )
    it.claimed("a new pod brings no new eBPF program", "新增 Pod 不会新增 eBPF 程序", f"{programs} programs", same)


def _requests(stage: Stage, client: Pod, service: Service) -> int:
    """How often the two Envoys had to wake for so many requests."""
    envoys = stage.sidecars.envoys
    slept = sum(switches(envoy.pid) for envoy in envoys)
    for _ in range(_REQUESTS):
        with client.connect(service, 80) as connection:
            stage.served(connection)
    return sum(switches(envoy.pid) for envoy in envoys) - slept


def _copies(stage: Stage, it: Record) -> None:
    lane = stage.sidecars
    before = [envoy.counters for envoy in lane.envoys]
    through = _requests(stage, lane.client, lane.service)
    after = [envoy.counters for envoy in lane.envoys]
    sent = after[0].outbound_requests - before[0].outbound_requests
    came = after[1].inbound_requests - before[1].inbound_requests
    it.claimed(
        f"{_REQUESTS} requests: both Envoys read every one of them in user space",
        f"{_REQUESTS} 个请求：两个 Envoy 都在用户态读取了每一个",
        f"{sent} by the client's Envoy, {came} by the server's",
        sent == came == _REQUESTS,
    )
    it.claimed(
        "the Envoys had to wake at least twice for each",
        "每个请求至少唤醒 Envoy 两次",
        f"{through} wake-ups",
        through >= 2 * _REQUESTS,
    )
    without = _requests(stage, stage.shop, stage.inventory)
    it.claimed(
        "the same number of requests by Kmesh: the Envoys sleep",
        "同样数量的请求走 Kmesh：Envoy 一直在睡眠",
        f"{without} wake-ups",
        without < through / 2,
    )


def _network_card(stage: Stage, it: Record) -> None:
    lane = stage.sidecars
    before, slept = packets(lane.client.pid), switches(lane.envoys[0].pid)
    with lane.client.connect(lane.service, 80) as connection:
        for _ in range(_REQUESTS):
            stage.served(connection)
    after = packets(lane.client.pid)
    loop = after["lo"] - before["lo"]
    it.claimed(
        "the client's loopback device saw nothing: all packets of its Envoy went by eth0",
        "客户端的 loopback 没有报文：Envoy 的报文都走 eth0",
        f"lo: {loop} packets for {_REQUESTS} requests",
        loop == 0,
    )
    it.instead(
        "application and Envoy talk over the loopback device of their pod",
        "应用与 Envoy 之间走 Pod 内的 loopback 设备",
        f"lo: {loop} packets",
        loop >= _REQUESTS,
    )
    woken = switches(lane.envoys[0].pid) - slept
    it.instead(
        "user space was entered by the system calls of a second process",
        "进入用户态是因为多了一个进程的系统调用",
        f"{woken} wake-ups of the client's Envoy",
        woken >= _REQUESTS / 2,
    )


def _one_per_node(stage: Stage, it: Record) -> None:
    programs = sorted(stage.n1.datapath.programs)
    new = [stage.lab.pod(f"new-{number}", node=stage.n1) for number in range(3)]
    try:
        pods = len(stage.n1.pods)
        it.claimed(
            "one set of programs serves all pods of the node",
            "一组程序为节点上所有 Pod 服务",
            f"{len(programs)} programs, {pods} pods",
            sorted(stage.n1.datapath.programs) == programs,
        )
        with new[0].connect(stage.inventory, 80) as connection:
            it.instead(
                "the decision is made in the application's own connect(2), by no process of Kmesh",
                "决策发生在应用自己的 connect(2) 系统调用里，不经过任何 Kmesh 进程",
                connection.decision,
                connection.backend is stage.near and connection.decision.rewritten,
            )
    finally:
        for pod in new:
            stage.lab.delete(pod)
    stage.behind_waypoint()
    with stage.open() as connection:
        it.instead(
            "for layer 7 a connection still goes to a proxy in user space, the waypoint",
            "七层治理仍要把连接送到用户态代理 waypoint",
            connection.backend,
            connection.backend is stage.waypoint,
        )


QUESTION = Question(
    1,
    Text(
        "What is Kmesh, and what problem of a sidecar mesh does it solve?",
        "Kmesh 是什么？它解决了 sidecar 服务网格的什么问题？",
    ),
    Answer(
        Text(
            "Kmesh moves the layer 4 work of a service mesh into eBPF programs. The choice of an endpoint is made in the "
            "application's own connect(2). The sidecar beside every pod goes away, with its memory, its extra "
            "connections and its copies.",
            "Kmesh 把服务网格的四层治理下沉到内核的 eBPF 程序中。应用调用 connect(2) 时，内核就选好了后端。"
            "每个 Pod 旁边的 sidecar 不再需要，它占用的内存、多出来的连接和数据拷贝也随之消失。",
        ),
        Text(
            "With sidecars, each pod has an Envoy of its own. iptables leads the application's connection to it over "
            "loopback; Envoy reads the request, chooses an endpoint and opens a second connection, and on the other side "
            "the same happens again. Each hop is a process: system calls, copies, wake-ups, and its own memory. Kmesh "
            "runs one daemon per node, which writes services and workloads into maps. Programs at the cgroup hooks read "
            "them. What needs layer 7 goes to a waypoint, an Envoy shared by a namespace or a service.",
            "在 sidecar 模式下，每个 Pod 都有自己的 Envoy。iptables 把应用的连接经 loopback 引到 Envoy；Envoy 读取请求、"
            "选择后端，再建立第二条连接，对端还要重复一遍。每一跳都是一个进程：有系统调用、数据拷贝、唤醒，还有独占的内存。"
            "Kmesh 每个节点只运行一个守护进程，由它把服务和工作负载写入 map，挂在 cgroup 钩子上的程序读取这些 map。"
            "需要七层治理的流量送到 waypoint，即按命名空间或服务共享的 Envoy。",
        ),
        Text(
            "sidecar: app → lo → Envoy → eth0 → Envoy → lo → app   (3 connections, 2 proxies)\n"
            "Kmesh:   app → eth0 → app                             (1 connection, connect hook + 4 maps)\n"
            "with L7: app → eth0 → waypoint → eth0 → app           (2 connections, 1 shared proxy)",
            "sidecar：应用 → lo → Envoy → eth0 → Envoy → lo → 应用（3 条连接，2 个代理）\n"
            "Kmesh：  应用 → eth0 → 应用（1 条连接，connect 钩子 + 4 个 map）\n"
            "需要七层：应用 → eth0 → waypoint → eth0 → 应用（2 条连接，1 个共享代理）",
        ),
    ),
    (
        FollowUp(
            Text(
                "Istio's ambient mode has no sidecars either. What is different?",
                "Istio 的 ambient 模式也没有 sidecar，区别在哪里？",
            ),
            Text(
                "Ambient's ztunnel is a proxy process on each node: bytes still pass user space. In Kmesh the kernel "
                "changes the destination, and the bytes of a connection never reach a process of the mesh. Ztunnel "
                "encrypts by mTLS; Kmesh's layer 4 path does not, it can use IPsec between nodes.",
                "ambient 的 ztunnel 是每个节点上的代理进程，数据仍要经过用户态。Kmesh 由内核改写目的地址，"
                "连接上的数据不会到达任何网格进程。ztunnel 提供 mTLS 加密；Kmesh 的四层路径不做 mTLS，节点之间可以用 IPsec。",
            ),
        ),
    ),
    (
        Text("layer 4 is decided in the kernel, in connect(2)", "四层决策在内核里、在 connect(2) 中完成"),
        Text("a sidecar costs memory, connections, copies and wake-ups", "sidecar 的代价：内存、连接、拷贝、唤醒"),
        Text("layer 7 still needs a proxy: the waypoint", "七层仍然需要代理：waypoint"),
    ),
    (
        Claim(
            "1.1",
            Text("One proxy per pod costs memory.", "每个 Pod 一个代理会消耗内存。"),
            Verdict.HOLDS,
            Text(
                "a proxy is a process with memory of its own, once per pod; a pod more costs Kmesh some rows in maps.",
                "代理是一个有独占内存的进程，每个 Pod 一份；而多一个 Pod，Kmesh 只多几行 map 记录。",
            ),
            ("README.md:16-17",),
            _proxy_memory,
            varies=True,
        ),
        Claim(
            "1.2",
            Text(
                "Each request is copied and switched between user space and kernel several times.",
                "每个请求都要在用户态和内核态之间多次拷贝、多次切换。",
            ),
            Verdict.HOLDS,
            Text(
                "the proxy has to wake, read the bytes and write them again, for the request and for the answer.",
                "代理要被唤醒、读入数据、再写出去，请求一次，响应再一次。",
            ),
            ("docs/cn/zh/kmesh_development_guide.md:11-17",),
            _copies,
            varies=True,
        ),
        Claim(
            "1.3",
            Text(
                "The copying costs so much because every packet of Envoy passes the network card.",
                "拷贝的开销之所以大，是因为 Envoy 的每个报文都要经过网卡。",
            ),
            Verdict.WRONG,
            Text(
                "application and sidecar talk over loopback. The cost comes from system calls, copies and a second "
                "process, not from a card.",
                "应用和 sidecar 之间走 loopback。开销来自系统调用、数据拷贝和多出来的进程，与网卡无关。",
            ),
            ("docs/cn/zh/kmesh_development_guide.md:11-17",),
            _network_card,
            varies=True,
        ),
        Claim(
            "1.4",
            Text(
                "There is one Kmesh per node instead of one Envoy per pod.",
                "每个节点一个 Kmesh，取代每个 Pod 一个 Envoy。",
            ),
            Verdict.CORRECTED,
            Text(
                "true for the daemon. But the data path is not the daemon, it is the programs in the application's own "
                "system calls; and layer 7 needs waypoints beside it.",
                "就守护进程而言没错。但数据面不是守护进程，而是运行在应用自己系统调用里的程序；七层治理另外还需要 waypoint。",
            ),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146", "pkg/bpf/workload/sock_connection.go:167-170"),
            _one_per_node,
        ),
    ),
)
