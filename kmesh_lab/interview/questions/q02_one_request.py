"""Question 2: one request, from the phone to the inventory and back."""

from __future__ import annotations

from kmesh_lab.exercises import attempt
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict

__all__ = ["QUESTION"]


def _ingress(stage: Stage, it: Record) -> None:
    tried = attempt(stage.phone, stage.inventory)
    it.claimed(
        "a phone, which no Kmesh program handles, reaches the service by its address",
        "手机不受 Kmesh 程序管理，也能用服务地址访问到服务",
        tried,
        bool(tried.reached),
    )
    before = stage.read_by_gateway()
    with stage.phone.connect(stage.gateway) as outside:
        answer = outside.get("/stock/42")
        read = stage.read_by_gateway() - before
    it.instead(
        "the phone's connection ends in the gateway, whose Envoy reads the request in user space and passes it on",
        "手机的连接终结在网关，由网关的 Envoy 在用户态读取请求并转发",
        f"peer {getattr(outside.backend, 'name', '')}, {read} request read, {answer!r}",
        outside.backend is stage.gateway and read == 1 and bool(answer),
    )
    it.instead(
        "the gateway is not enrolled: the programs leave its own connections alone, too",
        "网关没有被纳管：程序也不处理它自己发起的连接",
        f"enrolled: {stage.gateway.enrolled}",
        not stage.gateway.enrolled,
    )
    with stage.open() as inside:
        it.instead(
            "what Kmesh decides begins behind it, with the connect(2) of an enrolled pod",
            "Kmesh 的决策从网关之后开始，即被纳管 Pod 的 connect(2)",
            inside.decision,
            inside.decision.rewritten,
        )


def _one_connection(stage: Stage, it: Record) -> None:
    with stage.near.capture(port=8080) as capture, stage.open() as connection:
        stage.served(connection)
        local = connection.socket.getsockname()
    syns = [packet for packet in capture if packet.haslayer("TCP") and str(packet["TCP"].flags) == "S"]
    seen = [(packet["IP"].src, packet["TCP"].sport) for packet in syns]
    it.claimed(
        "inventory sees one SYN, and it comes from the shop's own socket",
        "inventory 只看到一个 SYN，来自 shop 自己的套接字",
        f"{len(seen)} SYN from 10.244.1.1",
        seen == [local],
    )
    it.claimed(
        "the peer of the shop's socket is inventory-a itself",
        "shop 套接字的对端就是 inventory-a",
        connection.backend,
        connection.backend is stage.near,
    )


def _believes(stage: Stage, it: Record) -> None:
    with stage.open() as connection:
        peer, vip = connection.socket.getpeername(), (str(stage.inventory.vips[0]), 80)
        it.claimed("getpeername(2) returns the VIP", "getpeername(2) 返回 VIP", f"{peer[0]}:{peer[1]}", peer == vip)
        it.instead(
            "it returns the address of the pod, with the pod's port",
            "返回的是 Pod 的地址和端口",
            f"{peer[0]}:{peer[1]}",
            peer == (str(stage.near.address), 8080),
        )


QUESTION = Question(
    2,
    Text(
        "Walk a request through a sidecar mesh, from the phone through the ingress gateway to the inventory service and "
        "back; then the same with Kmesh. Who decides what, and where is user space entered?",
        "请描述一个请求在 sidecar 网格中的完整路径：从手机出发，经入口网关到库存服务再返回；然后说明换成 Kmesh 之后的路径。"
        "谁做什么决策？在哪里进入用户态？",
    ),
    Answer(
        Text(
            "The gateway stays in both: it ends the phone's connection and reads HTTP. Behind it, sidecars put two "
            "proxies into each hop. With Kmesh the hop is one TCP connection from pod to pod, and the endpoint was "
            "chosen in connect(2).",
            "两种方式都保留入口网关：它终结手机的连接并解析 HTTP。网关之后，sidecar 模式每一跳多出两个代理；"
            "Kmesh 模式每一跳就是 Pod 到 Pod 的一条 TCP 连接，后端在 connect(2) 时已经选定。",
        ),
        Text(
            "Sidecar: phone → gateway (Envoy in user space: TLS, host, path) → its Envoy chooses a shop pod → sidecar of "
            "the shop → shop; the shop asks inventory → iptables → its sidecar chooses an endpoint → sidecar of inventory "
            "→ inventory. The answer goes back through each of them. User space: gateway, three sidecar passes (and "
            "three more for the answer), two applications. Kmesh: phone → gateway as before. The shop's connect(2) runs the hook: frontend, service, "
            "endpoint, backend; the kernel connects to the pod. User space: gateway and the two applications. With a "
            "waypoint, that one proxy is entered as well.",
            "sidecar：手机 → 网关（用户态 Envoy：TLS、域名、路径）→ 选择一个 shop Pod → shop 的 sidecar → shop；"
            "shop 查询库存 → iptables → 自己的 sidecar 选择后端 → inventory 的 sidecar → inventory，响应原路返回。"
            "进入用户态的地方：网关、三次 sidecar（响应再三次）、两个应用。Kmesh：手机 → 网关不变。shop 的 connect(2) 触发钩子："
            "frontend、service、endpoint、backend，随后内核直接连接到 Pod。进入用户态的只有网关和两个应用；"
            "如果配了 waypoint，再加这一个代理。",
        ),
        Text(
            "phone ──► gateway ──► shop ──connect(2)──► inventory-a\n"
            "          (user)      (app)  │ km_frontend → km_service → km_endpoint → km_backend\n"
            "                             └ SYN leaves with the pod's address; the answer needs no undoing",
            "手机 ──► 网关 ──► shop ──connect(2)──► inventory-a\n"
            "        （用户态） （应用） │ km_frontend → km_service → km_endpoint → km_backend\n"
            "                          └ SYN 发出时已是 Pod 地址，响应无需还原",
        ),
    ),
    (
        FollowUp(
            Text("Who chooses the shop pod behind the gateway?", "网关之后由谁选择 shop 的 Pod？"),
            Text(
                "The gateway itself: its Envoy has the endpoints from istiod. Kmesh does not enrol gateway pods, so its "
                "connections are left alone.",
                "网关自己：它的 Envoy 从 istiod 得到端点列表。Kmesh 不纳管网关 Pod，所以不会改写它的连接。",
            ),
        ),
    ),
    (
        Text("the ingress gateway stays, a proxy in user space", "入口网关仍在，是用户态代理"),
        Text("one connection from pod to pod, chosen in connect(2)", "Pod 到 Pod 一条连接，在 connect(2) 时选定"),
        Text("with a waypoint user space is entered once more", "有 waypoint 时多进入一次用户态"),
    ),
    (
        Claim(
            "2.1",
            Text("Kmesh also replaces the ingress gateway.", "Kmesh 也取代了入口网关。"),
            Verdict.WRONG,
            Text(
                "nothing of Kmesh acts for a client outside the mesh, and no program reads HTTP. Pods of a gateway are "
                "not even enrolled.",
                "对网格外的客户端，Kmesh 不起任何作用，也没有程序解析 HTTP。网关 Pod 甚至不会被纳管。",
            ),
            ("pkg/utils/enroll.go:40-82",),
            _ingress,
        ),
        Claim(
            "2.2",
            Text(
                "Without a waypoint there is one TCP connection from the shop to the inventory pod.",
                "没有 waypoint 时，shop 到库存 Pod 只有一条 TCP 连接。",
            ),
            Verdict.HOLDS,
            Text("one SYN arrives, from the shop's own socket.", "只有一个 SYN 到达，来自 shop 自己的套接字。"),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146",),
            _one_connection,
        ),
        Claim(
            "2.3",
            Text(
                "The application still believes that it talks to the service's address.",
                "应用仍以为自己连接的是服务地址。",
            ),
            Verdict.WRONG,
            Text(
                "the address was exchanged before the kernel stored it, so the socket names the pod. Kmesh has no "
                "getpeername hook that would hide it.",
                "地址在内核保存之前就被改写，所以套接字里是 Pod 地址；Kmesh 没有挂 getpeername 钩子来掩盖这一点。",
            ),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146",),
            _believes,
        ),
    ),
)
