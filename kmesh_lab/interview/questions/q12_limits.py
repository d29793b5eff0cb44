"""Question 12: what Kmesh does not do, where a TLV is lost, what a full map means."""

from __future__ import annotations

from kmesh_lab.errors import MapFull
from kmesh_lab.exercises import attempt
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.mesh import Service

__all__ = ["QUESTION"]


def _routes_by_path(stage: Stage, it: Record) -> None:
    with stage.open() as connection:
        before = connection.decision
        it.claimed(
            "the decision waits for the path",
            "决策会等到看见路径之后",
            f"{before}, 0 bytes sent",
            before.final != (stage.near.address, 8080),
        )
        who = {path: stage.served(connection, path) for path in ("/stock/42", "/stock/7", "/")}
    it.claimed(
        "requests for different paths reach different backends",
        "不同路径的请求到达不同后端",
        who,
        len(set(who.values())) > 1,
    )


def _tlv_never_lost(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    del stage.n1.maps.manage[stage.shop.address]
    with stage.open() as connection:
        reached = connection.backend
        connection.send(b"GET /stock/42 HTTP/1.1\r\nHost: shop\r\n\r\n")
        try:
            answer = connection.recv(64)
        except ConnectionError:
            answer = b""
    kinds = [step.kind for step in connection.decision.steps]
    first = bytes(stage.waypoint.captured())[:5]
    it.claimed(
        "a pod whose address is missing in km_manage, while its namespace is there, still sends the TLV",
        "Pod 的地址不在 km_manage、但网络命名空间在时，仍会发送 TLV",
        f"first bytes at the waypoint: {first!r}",
        "TLV" in kinds,
    )
    it.instead(
        "the connect hook leads it to the waypoint, sockops does not know it, and the waypoint closes",
        "connect 钩子把它引到 waypoint，sockops 却不认识它，waypoint 随即关闭连接",
        f"connected to {getattr(reached, 'name', reached)}, answer {answer!r}",
        reached is stage.waypoint and answer == b"" and "SOCKHASH" not in kinds,
    )


def _server_first(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        connection.socket.settimeout(0.3)
        try:
            greeting = connection.recv(64)
        except TimeoutError:
            greeting = b""
        kinds = [step.kind for step in connection.decision.steps]
        it.claimed(
            "the waypoint gets the TLV when the connection is established",
            "连接建立时 waypoint 就收到 TLV",
            " → ".join(kinds[-2:]),
            "TLV" in kinds,
        )
        it.instead(
            "a client that waits for the server's greeting sends no TLV, and both wait",
            "等待服务端先发言的客户端不会发出 TLV，双方互相等待",
            f"{greeting!r} after 0.3 s",
            greeting == b"" and kinds[-1] == "SOCKHASH",
        )
        answer = stage.served(connection)
        it.instead("the client's first bytes bring it", "客户端的第一批字节才会带上它", answer, answer == "inventory-a")


def _full(stage: Stage, it: Record) -> None:
    services = stage.n1.datapath.maps["km_service"]
    before = services.rows()
    free = services.max_entries - len(before)
    filling = [(number.to_bytes(4, "little"), bytes(services.value_size)) for number in range(1, free + 1)]
    one_more = Service("one-more.shop", "10.96.0.77", {80: 8080})
    services.update_many(filling)
    try:
        stage.lab.apply(one_more, endpoints=[stage.near])
        said = "no error"
    except MapFull as error:
        said = str(error)
    finally:
        left = services.rows()
        services.delete_many([key for key, _ in filling])
    it.claimed(
        "an old row was thrown out to make room",
        "有旧记录被挤出去腾地方",
        f"{len(before) + free:,} rows before, {len(left):,} after",
        not {key for key, _ in [*before, *filling]} <= {key for key, _ in left},
    )
    it.instead("the write fails and says which map is full", "写入失败，并指出哪个 map 满了", said, "is full" in said)
    tried = attempt(stage.shop, stage.inventory)
    it.instead(
        "every row is as before, and connects go on",
        "所有记录都和之前一样，连接照常",
        tried,
        sorted(services.rows()) == sorted(before) and tried.reached == "inventory-a",
    )


QUESTION = Question(
    12,
    Text(
        "What are the limits: what does Kmesh not do without a waypoint, where can it lose a TLV, what happens when a map is "
        "full?",
        "Kmesh 的局限有哪些：没有 waypoint 时它不做什么？在哪里可能丢失 TLV？map 满了会怎样？",
    ),
    Answer(
        Text(
            "Without a waypoint: no HTTP routing, retries, timeouts or header policy, no mTLS; a connection, not a request, "
            "is balanced. A TLV is lost when the socket does not get into km_socket or the push fails; the waypoint then "
            "closes. A full hash map refuses new rows and keeps the old ones.",
            "没有 waypoint 时：没有 HTTP 路由、重试、超时、基于头部的策略，也没有 mTLS；负载均衡以连接为单位，而不是请求。"
            "套接字没能进入 km_socket 或插入失败时，TLV 就丢了，waypoint 会关闭连接。哈希 map 满了就拒绝新记录，旧记录不变。",
        ),
        Text(
            "TLV lost: address not enrolled (dual-stack pods enrol only IPv4), km_socket full at 8192, msg_push_data out of "
            "memory; has_encoded is set first, so it is not retried. A socket that is used again after a failed connect keeps "
            "its first original destination. Server-speaks-first protocols hang. Sizes: 5,000 services, 100,000 backends, "
            "105,000 frontends and endpoints, 8,192 enrolled keys, two for each pod; 10 ports per service, 10 services "
            "per workload. A full ring buffer drops events. What is not in a map is left to the kernel as it was asked "
            "for; only a lost TLV ends a connection.",
            "TLV 丢失的情形：地址没有纳管（双栈 Pod 只纳管 IPv4）、km_socket 达到 8192 上限、msg_push_data 内存不足；"
            "has_encoded 先置位，所以不会重试。connect 失败后重用的套接字会保留第一次的原始目的地址。服务端先发言的协议会卡住。"
            "规模：5000 个服务、10 万个后端、10.5 万个前端和端点、8192 个纳管键（每个 Pod 两个）；每个服务 10 个端口，每个工作负载 10 个服务。"
            "ring buffer 满了会丢事件。map 里没有的，按原样交给内核；只有丢失 TLV 会断开连接。",
        ),
        Text(
            "connect ─► cookie in km_manage? ─► waypoint      (hook: namespace)\n"
            "SYN-ACK ─► address in km_manage? ─► km_socket    (sockops: address)\n"
            "   first yes, second no  ⇒  waypoint without TLV  ⇒  closed",
            "connect ─► cookie 在 km_manage？─► waypoint（钩子：命名空间）\n"
            "SYN-ACK ─► 地址在 km_manage？─► km_socket（sockops：地址）\n"
            "   前者是、后者否  ⇒  去了 waypoint 却没有 TLV  ⇒  连接被关闭",
        ),
    ),
    (
        FollowUp(
            Text("How would you make it safer?", "你会怎样让它更可靠？"),
            Text(
                "Report a failed insert as an event, not as a log line; if the push fails, drop the message (SK_DROP), so that "
                "send(2) fails and the client knows; enrol both addresses of a pod; size km_socket by the node.",
                "插入失败时上报事件而不只是写日志；如果插入 TLV 失败就丢弃该消息（SK_DROP），让 send(2) 报错，客户端能够知道；"
                "Pod 的两个地址都纳管；按节点规模设置 km_socket。",
            ),
        ),
    ),
    (
        Text("layer 7 and mTLS need a waypoint or something else", "七层治理和 mTLS 需要 waypoint 或其他组件"),
        Text("how the TLV is lost, and that the waypoint closes then", "TLV 怎样丢失，以及之后 waypoint 会关闭连接"),
        Text("full maps refuse new rows, and Kmesh fails open", "map 满了拒绝新记录，Kmesh 失败放行"),
    ),
    (
        Claim(
            "12.1",
            Text("Without a waypoint Kmesh can route HTTP by path.", "没有 waypoint，Kmesh 也能按路径做 HTTP 路由。"),
            Verdict.WRONG,
            Text(
                "the decision is made in connect(2), before the first byte. All requests of a connection go to one pod.",
                "决策在 connect(2) 中完成，早于第一个字节。一条连接上的所有请求都去同一个 Pod。",
            ),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146",),
            _routes_by_path,
        ),
        Claim(
            "12.2",
            Text("A connection to a waypoint always carries its TLV.", "去往 waypoint 的连接总会带上 TLV。"),
            Verdict.WRONG,
            Text(
                "connect looks for the network namespace, sockops for the address. When only the first is enrolled, the "
                "connection arrives without a TLV.",
                "connect 看网络命名空间，sockops 看地址。只有前者被纳管时，连接到达 waypoint 却没有 TLV。",
            ),
            ("bpf/kmesh/workload/sockops.c:152-200", "bpf/include/bpf_common.h:314-348"),
            _tlv_never_lost,
        ),
        Claim(
            "12.3",
            Text("The TLV is sent as soon as the connection is established.", "连接一建立就会发送 TLV。"),
            Verdict.WRONG,
            Text(
                "it waits for the client's first data, so protocols in which the server speaks first get stuck.",
                "它要等客户端的第一批数据，所以服务端先发言的协议会卡住。",
            ),
            ("bpf/kmesh/workload/sendmsg.c:90-111",),
            _server_first,
        ),
        Claim(
            "12.4",
            Text("When a map is full, the oldest row makes room.", "map 满了，最旧的记录会被淘汰。"),
            Verdict.WRONG,
            Text(
                "these are plain hash maps: the update fails with E2BIG. In the lab the change is put back; in Kmesh an "
                "error is logged.",
                "这些是普通哈希 map：更新以 E2BIG 失败。lab 会整体回滚，Kmesh 则写一条错误日志。",
            ),
            ("bpf/kmesh/workload/include/config.h:8-15",),
            _full,
        ),
    ),
)
