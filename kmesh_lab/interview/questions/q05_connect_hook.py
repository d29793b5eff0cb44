"""Question 5: what the connect hook does."""

from __future__ import annotations

from kmesh_lab.datapath.decision import Decision
from kmesh_lab.exercises import attempt
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict

__all__ = ["QUESTION"]


def _flag(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    _, row = stage.n1.maps.service.raw(stage.inventory)
    address, port = row[112:128], row[128:132]
    it.claimed(
        "the waypoint's bytes in the service row are the number 1",
        "服务记录里 waypoint 的字节就是数字 1",
        f"{address[:4].hex(' ')} … {port.hex(' ')}",
        address + port in (bytes(19) + b"\x01", b"\x01" + bytes(19)) or port == b"\x01\0\0\0",
    )
    vip, number = stage.waypoint.entrance
    it.instead(
        "16 bytes of address and 4 of port, both in network order",
        "16 字节地址加 4 字节端口，都是网络字节序",
        f"{vip}:{number}",
        address[:4] == vip.packed and port == number.to_bytes(2, "big") + b"\0\0",
    )


def _straight(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        kinds = [step.kind for step in connection.decision.steps]
        it.claimed(
            "the connect reaches inventory-a, the nearest backend",
            "connect 到达最近的后端 inventory-a",
            connection.backend,
            connection.backend is stage.near,
        )
        it.instead(
            "it reaches the waypoint, which the program resolves in a second run of itself",
            "它到达 waypoint，由程序通过尾调用再运行一次解析出来",
            connection.decision,
            connection.backend is stage.waypoint and "TAIL_CALL" in kinds,
        )
        it.instead(
            "no policy was asked in the first run: no endpoint of inventory was picked",
            "第一次运行没有查询负载均衡策略，也没有挑选 inventory 的端点",
            " → ".join(kinds[: kinds.index("TAIL_CALL")]),
            "ENDPOINT" not in kinds[: kinds.index("TAIL_CALL")],
        )


def _kept(stage: Stage, it: Record) -> None:
    to_pod, to_service = attempt(stage.shop, stage.near), attempt(stage.shop, stage.inventory)
    it.claimed("asked for a pod's own address", "直接访问 Pod 地址", to_pod.decision, not to_pod.decision.rewritten)
    it.claimed("asked for a service's address", "访问服务地址", to_service.decision, not to_service.decision.rewritten)


def _refuses(stage: Stage, it: Record) -> None:
    stage.lab.apply(stage.service("STRICT"), endpoints=[stage.far])
    tried = attempt(stage.shop, stage.inventory)
    it.claimed(
        "the program refuses the connect (EPERM)", "程序拒绝 connect（EPERM）", tried.error, tried.error == "EPERM"
    )
    it.instead(
        "it leaves the address as it was and lets connect(2) go on; here nobody has the VIP",
        "它保持地址不变，让 connect(2) 继续；这里没有人拥有这个 VIP",
        f"{tried.decision}, {tried.error}",
        not tried.decision.rewritten and bool(tried.decision.steps),
    )


def _all_sockets(stage: Stage, it: Record) -> None:
    try:
        with stage.shop.connect(stage.inventory, 80, protocol="udp") as datagram:
            decision: Decision = datagram.decision
    except OSError as error:  # the VIP, to which nothing leads
        decision = getattr(error, "decision", Decision(()))
    it.claimed(
        "a UDP socket that connects to the service is led to a pod",
        "UDP 套接字 connect 到服务时也会被改写到 Pod",
        decision,
        decision.rewritten,
    )
    kinds = [step.kind for step in decision.steps]
    it.instead(
        "the program looks at the protocol and leaves it alone",
        "程序检查协议后直接放行",
        " → ".join(kinds),
        "NOT_TCP" in kinds,
    )


QUESTION = Question(
    5,
    Text(
        "What does the connect hook do? From frontend to service or backend, waypoint and policy.",
        "connect 钩子做了什么？请从 frontend 讲到 service 或 backend、waypoint 和策略。",
    ),
    Answer(
        Text(
            "It looks the destination up in km_frontend. A service id leads on: to the waypoint if the service has one, "
            "else by policy to an endpoint, a backend and the target port. Then it writes address and port into the "
            "context of connect(2). Whatever is missing, the destination stays: the client's, or, once a waypoint was "
            "chosen, the waypoint's VIP.",
            "它用目的地址查 km_frontend。查到服务 id 就继续：有 waypoint 就去 waypoint，否则按策略选端点、查后端、换目标端口，"
            "然后把地址和端口写回 connect(2) 的上下文。只要中途缺了什么，目的地址就保持不变："
            "仍是客户端请求的地址；如果已经选定 waypoint，则是 waypoint 的 VIP。",
        ),
        Text(
            "First the control addresses 0.0.0.2:929 and :930, which enrol and unenrol. Then: is this network namespace in "
            "km_manage? Port 53 may go to the DNS proxy. Only TCP goes on. Storage for the socket, with the start time. "
            "frontend_manager: upstream_id is looked up in km_service first, then in km_backend; a backend means that a pod "
            "was addressed directly. service_manager: waypoint before policy. endpoint_manager, backend_manager, svc_dnat: "
            "the slot of the port gives the target port. For a waypoint the program calls itself by a tail call, since "
            "the waypoint's address is a service, too. It always returns 1.",
            "先处理控制地址 0.0.0.2:929 和 :930（纳管与取消纳管）。再看网络命名空间是否在 km_manage 中。53 端口可能转给 DNS 代理。"
            "只有 TCP 继续。为套接字建立存储并记下开始时间。frontend_manager：upstream_id 先查 km_service，再查 km_backend，"
            "后者说明直接访问的是 Pod。service_manager：先看 waypoint，再看策略。endpoint_manager、backend_manager、svc_dnat："
            "由端口所在的槽位得到目标端口。去 waypoint 时程序用尾调用再次调用自己，因为 waypoint 的地址本身也是服务。返回值永远是 1。",
        ),
        Text(
            "frontend ─┬─ service ─┬─ waypoint? ─► VIP:15008 ─ tail call ─► pod:15019\n"
            "          │           └─ policy ─► endpoint ─► backend ─► pod:targetPort\n"
            "          ├─ backend ─┬─ waypoint? ─► as above\n"
            "          │           └─ destination stays (a pod, addressed directly)\n"
            "          └─ nothing ─► destination stays",
            "frontend ─┬─ service ─┬─ 有 waypoint ─► VIP:15008 ─ 尾调用 ─► pod:15019\n"
            "          │           └─ 策略 ─► endpoint ─► backend ─► pod:targetPort\n"
            "          ├─ backend ─┬─ 有 waypoint ─► 同上\n"
            "          │           └─ 目的地址不变（直接访问 Pod）\n"
            "          └─ 查不到 ─► 目的地址不变",
        ),
    ),
    (
        FollowUp(
            Text("What if the waypoint has itself as waypoint?", "如果 waypoint 的 waypoint 是它自己呢？"),
            Text(
                "The program would call itself until the kernel's limit of 33 tail calls, then go on with the VIP. The "
                "daemon strips a waypoint that equals the service's own address.",
                "程序会一直尾调用自己，直到内核上限 33 次，然后以 VIP 继续。守护进程会去掉与服务自身地址相同的 waypoint。",
            ),
        ),
    ),
    (
        Text(
            "km_frontend, km_service, km_endpoint, km_backend, in this order",
            "依次查 km_frontend、km_service、km_endpoint、km_backend",
        ),
        Text("waypoint before policy, resolved by a tail call", "waypoint 先于策略，用尾调用解析"),
        Text("it always allows: on any miss the destination stays", "永远放行：任何一步缺失，目的地址都不变"),
    ),
    (
        Claim(
            "5.1",
            Text("waypoint is a flag that is 1.", "waypoint 是一个取值为 1 的标志位。"),
            Verdict.WRONG,
            Text(
                "it is an address and a port; there is none when the port is 0.",
                "它是地址加端口；端口为 0 表示没有 waypoint。",
            ),
            ("bpf/kmesh/workload/include/workload.h:31-40", "bpf/kmesh/workload/include/service.h:106-143"),
            _flag,
        ),
        Claim(
            "5.2",
            Text("A service with a waypoint goes straight to its backend.", "有 waypoint 的服务直接去它的后端。"),
            Verdict.WRONG,
            Text(
                "the opposite: it goes to the waypoint's address, port 15008, which a tail call resolves to the "
                "waypoint's pod, port 15019.",
                "恰恰相反：它先去 waypoint 地址的 15008 端口，再由尾调用解析到 waypoint Pod 的 15019 端口。",
            ),
            ("bpf/kmesh/workload/include/service.h:106-143", "bpf/kmesh/workload/cgroup_sock.c:89-146"),
            _straight,
        ),
        Claim(
            "5.3",
            Text("Without a waypoint the original destination is kept.", "没有 waypoint 时保留原始目的地址。"),
            Verdict.CORRECTED,
            Text(
                "only for a pod that is addressed directly, or when a lookup fails. For a service the destination becomes "
                "the pod's address and target port.",
                "只有直接访问 Pod 或者查找失败时才保留；访问服务时，目的地址会改写成 Pod 地址和目标端口。",
            ),
            ("bpf/kmesh/workload/include/frontend.h:16-62", "bpf/kmesh/workload/include/backend.h:28-86"),
            _kept,
        ),
        Claim(
            "5.4",
            Text("If it finds nobody, the hook refuses the connection.", "如果找不到后端，钩子会拒绝连接。"),
            Verdict.WRONG,
            Text(
                "it always returns 1. Kmesh fails open: the connection goes to the address that was asked for, or to the "
                "waypoint's VIP if a waypoint was chosen before.",
                "它总是返回 1。Kmesh 采取失败放行：连接仍去往应用请求的地址；如果之前已选定 waypoint，则去往 waypoint 的 VIP。",
            ),
            ("bpf/kmesh/workload/include/workload_common.h:19-20",),
            _refuses,
        ),
        Claim(
            "5.5",
            Text("It balances UDP as well.", "它对 UDP 也做负载均衡。"),
            Verdict.WRONG,
            Text(
                "only TCP goes through the maps; of UDP, DNS queries alone may be sent to the DNS proxy.",
                "只有 TCP 会查 map；UDP 里只有 DNS 查询可能被转给 DNS 代理。",
            ),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146",),
            _all_sockets,
        ),
    ),
)
