"""Question 6: how locality load balancing chooses."""

from __future__ import annotations

from collections.abc import Sequence

from kmesh_lab.exercises import attempt
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import SCOPES, Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.lab import Pod
from kmesh_lab.lab.connection import Connects
from kmesh_lab.mesh import LoadBalancing, Service, Workload

__all__ = ["QUESTION"]

_COUNT = 100


def _reached(stage: Stage, policy: str, endpoints: Sequence[Pod]) -> Connects:
    service = stage.service(policy)
    stage.lab.apply(service, endpoints=endpoints)
    return stage.shop.connect_many(service, count=_COUNT)


def _policies(stage: Stage, it: Record) -> None:
    both = [stage.near, stage.far]
    random, strict, failover = (_reached(stage, policy, both) for policy in ("RANDOM", "STRICT", "FAILOVER"))
    gone = _reached(stage, "FAILOVER", [stage.far])
    names = {stage.service(policy).load_balancing.policy.value: policy for policy in ("RANDOM", "STRICT", "FAILOVER")}
    it.claimed(
        f"policy 0 ({names[0]}) prefers the local pod",
        f"策略 0（{names[0]}）优先本地 Pod",
        sorted(random),
        set(random) == {"inventory-a"},
    )
    it.claimed(
        f"policy 1 ({names[1]}) prefers the remote pod",
        f"策略 1（{names[1]}）优先远端 Pod",
        strict,
        set(strict) == {"inventory-b"},
    )
    it.claimed(
        f"policy 2 ({names[2]}) takes the local pod, and the remote one when it is gone",
        f"策略 2（{names[2]}）先用本地 Pod，本地没有时才用远端",
        f"{failover}, then {gone}",
        (dict(failover), dict(gone)) == ({"inventory-a": _COUNT}, {"inventory-b": _COUNT}),
    )


def _fallback(stage: Stage, it: Record) -> None:
    far_away = Workload("elsewhere", "10.244.9.9", "n9", "cn-east/beijing/z")
    service = stage.service("FAILOVER")
    counts = []
    everybody: list[Pod | Workload] = [stage.near, stage.far, far_away]
    for endpoints in (everybody, everybody[1:], everybody[2:]):
        stage.lab.apply(service, endpoints=endpoints)
        counts.append(stage.n1.maps.service[service].prio_endpoint_count)
    used = [next(prio for prio, count in enumerate(row) if count) for row in counts]
    it.claimed(
        "FAILOVER takes the first priority that has an endpoint, and moves on when it is empty",
        "FAILOVER 取第一个有端点的优先级，空了才往后走",
        f"first used: {used}",
        used == sorted(used) and used[0] == 0 and len(set(used)) == 3,
    )
    it.claimed(
        "an endpoint that matches nothing is at priority 6",
        "一个都不匹配的端点在优先级 6",
        f"priority {used[-1]} with {len(SCOPES)} scopes",
        used[-1] == 6,
    )
    tried = _reached(stage, "STRICT", [stage.far])
    it.claimed("STRICT and RANDOM fall back, too", "STRICT 和 RANDOM 也会回退", tried, bool(tried))


def _strict(stage: Stage, it: Record) -> None:
    legacy = stage.lab.pod("legacy", node=stage.n2, listen=80, enrolled=False)
    try:
        strict = Service("legacy.shop", legacy.address, {80: 8080}, LoadBalancing("STRICT", SCOPES))
        stage.lab.apply(strict, endpoints=[stage.far])
        tried = attempt(stage.shop, strict)
        it.claimed("the connect fails", "connect 失败", tried.reached or tried.error, not tried.reached)
        it.instead(
            "it goes on to the address itself: whoever has it answers, endpoint or not",
            "连接去往原地址：谁拥有这个地址就由谁应答，不管它是不是端点",
            f"{tried.decision} → {tried.reached}",
            tried.reached == "legacy" and not tried.decision.rewritten,
        )
    finally:
        stage.lab.delete("legacy.shop")
        stage.lab.delete(legacy)


def _random_pick(stage: Stage, it: Record) -> None:
    twin = stage.lab.pod("inventory-c", node=stage.n1, listen=8080)
    try:
        reached = _reached(stage, "FAILOVER", [stage.near, twin, stage.far])
        it.claimed(
            "two endpoints at priority 0 share the connects, the one at priority 1 gets none",
            "优先级 0 的两个端点分担连接，优先级 1 的一个也没有",
            reached,
            set(reached) == {"inventory-a", "inventory-c"} and min(reached.values()) >= _COUNT // 5,
        )
        picked = set()
        for _ in range(40):
            with stage.open() as connection:
                picked |= {step.index for step in connection.decision.steps if step.kind == "ENDPOINT"}
        it.claimed("the program picked row 1 and row 2", "程序选过第 1 行和第 2 行", sorted(picked), picked == {1, 2})
    finally:
        stage.lab.apply(stage.inventory, endpoints=[stage.near, stage.far])
        stage.lab.delete(twin)


def _next_one(stage: Stage, it: Record) -> None:
    del stage.n1.maps.endpoint[(stage.inventory, 0, 1)]
    tried = attempt(stage.shop, stage.inventory)
    it.claimed(
        "the row of inventory-a is gone; inventory-b gets the connect",
        "inventory-a 的记录被删掉，由 inventory-b 接手",
        tried,
        tried.reached == "inventory-b",
    )
    it.instead(
        "the program gives up at km_endpoint and leaves the destination as it was",
        "程序在 km_endpoint 处放弃，目的地址保持不变",
        tried.stopped_at,
        tried.stopped_at == "km_endpoint" and not tried.decision.rewritten,
    )


QUESTION = Question(
    6,
    Text("How does locality load balancing choose?", "地域（locality）负载均衡是怎么选择后端的？"),
    Answer(
        Text(
            "The daemon on each node compares its own place with each endpoint's and stores the endpoint under a "
            "priority; 0 is nearest. The kernel reads counts: RANDOM and STRICT use priority 0, FAILOVER the first "
            "priority that is not empty. Within it the pick is random.",
            "每个节点的守护进程把自己的位置和每个端点的位置做比较，按优先级存放端点，0 最近。内核只看计数："
            "RANDOM 和 STRICT 用优先级 0，FAILOVER 用第一个非空的优先级，在其中随机选一个。",
        ),
        Text(
            "The routing preference is a list of scopes, such as REGION, ZONE, SUBZONE. Count how many are equal from the "
            "front, stop at the first that differs; priority is the length of the list minus that number. RANDOM (0) "
            "stores all at 0 and ignores places. STRICT (1) uses full matches only; when there is none the destination "
            "stays, so nothing is blocked. FAILOVER (2) walks the seven counts. One pick, random modulo count plus 1; if "
            "its row is missing nothing else is tried. The lists come from istiod: trafficDistribution, or "
            "internalTrafficPolicy.",
            "路由偏好是一个范围列表，例如 REGION、ZONE、SUBZONE。从头数有多少个相同，遇到第一个不同就停；"
            "优先级 = 列表长度 − 相同个数。RANDOM（0）全部存在 0 级，不看位置。STRICT（1）只用完全匹配的；没有时目的地址不变，"
            "所以并不会阻断。FAILOVER（2）依次看七个计数。只选一次：随机数对计数取模再加 1；记录缺失也不会再试别的。"
            "列表来自 istiod：由 trafficDistribution 或 internalTrafficPolicy 生成。",
        ),
        Text(
            "client cn-west/xian/a, preference REGION ZONE SUBZONE\n"
            "cn-west/xian/a → 3 equal → prio 0     cn-west/chengdu/a → 1 equal → prio 2\n"
            "cn-west/xian/b → 2 equal → prio 1     cn-east/xian/a    → 0 equal → prio 3\n"
            "km_service: counts 1 1 1 1 0 0 0, policy;  km_endpoint[service, prio, 1…count]",
            "客户端 cn-west/xian/a，偏好 REGION ZONE SUBZONE\n"
            "cn-west/xian/a → 相同 3 → 优先级 0     cn-west/chengdu/a → 相同 1 → 优先级 2\n"
            "cn-west/xian/b → 相同 2 → 优先级 1     cn-east/xian/a    → 相同 0 → 优先级 3\n"
            "km_service：计数 1 1 1 1 0 0 0 与策略；km_endpoint[服务、优先级、1…计数]",
        ),
    ),
    (
        FollowUp(
            Text(
                "internalTrafficPolicy: Local promises to drop when nobody is local. Does Kmesh keep that?",
                "internalTrafficPolicy: Local 承诺本地没有端点时丢弃流量，Kmesh 做到了吗？",
            ),
            Text(
                "Not by itself. It becomes STRICT by NODE, and STRICT fails open: the connection goes to the VIP. There "
                "kube-proxy, if it runs, drops it; without kube-proxy whoever has the address answers.",
                "Kmesh 自己没有做到。它变成按 NODE 的 STRICT，而 STRICT 失败放行：连接去往 VIP。如果有 kube-proxy，由它丢弃；"
                "没有的话，谁拥有这个地址谁应答。",
            ),
        ),
    ),
    (
        Text(
            "priority = scopes − leading matches, per node, by the daemon",
            "优先级 = 范围数 − 前缀匹配数，由各节点守护进程计算",
        ),
        Text(
            "0 RANDOM, 1 STRICT, 2 FAILOVER, and what each does when empty",
            "0 RANDOM、1 STRICT、2 FAILOVER，以及各自没有端点时的行为",
        ),
        Text("one random pick within a priority, no second try", "同一优先级内随机选一次，不重试"),
    ),
    (
        Claim(
            "6.1",
            Text(
                "Policy 0 is local first, 1 is remote first, 2 is local then remote.",
                "策略 0 是本地优先，1 是远端优先，2 是先本地后远端。",
            ),
            Verdict.CORRECTED,
            Text(
                "only 2 is right. 0 is RANDOM and ignores places, 1 is STRICT and takes full matches only. There is no "
                "policy that prefers what is remote.",
                "只有 2 是对的。0 是 RANDOM，不看位置；1 是 STRICT，只取完全匹配的。并不存在远端优先的策略。",
            ),
            ("bpf/kmesh/workload/include/workload_common.h:23-27",),
            _policies,
            varies=True,
        ),
        Claim(
            "6.2",
            Text("It falls back from priority 0 to 6.", "它从优先级 0 一直回退到 6。"),
            Verdict.CORRECTED,
            Text(
                "FAILOVER does, to the first priority that is not empty. The last one in use is the number of scopes: 3 "
                "to 5 in practice. RANDOM and STRICT stay at 0.",
                "只有 FAILOVER 会回退，到第一个非空的优先级为止。实际用到的最大优先级等于范围个数，通常是 3 到 5。RANDOM 和 STRICT 只看 0 级。",
            ),
            (
                "bpf/kmesh/workload/include/service.h:82-88",
                "pkg/controller/workload/bpfcache/locality_cache.go:62-100",
            ),
            _fallback,
        ),
        Claim(
            "6.3",
            Text("STRICT blocks when nobody is local.", "本地没有端点时，STRICT 会阻断连接。"),
            Verdict.WRONG,
            Text(
                "nothing is blocked: the destination stays, and who has that address answers.",
                "什么都不会阻断：目的地址不变，谁拥有该地址就由谁应答。",
            ),
            ("bpf/kmesh/workload/include/service.h:57",),
            _strict,
        ),
        Claim(
            "6.4",
            Text("A random endpoint of the chosen priority is taken.", "在选定的优先级里随机取一个端点。"),
            Verdict.HOLDS,
            Text("the row is random modulo count, plus 1.", "行号是随机数对计数取模再加 1。"),
            ("bpf/kmesh/workload/include/service.h:28", "bpf/kmesh/workload/include/service.h:88"),
            _random_pick,
            varies=True,
        ),
        Claim(
            "6.5",
            Text("If that endpoint's row is missing, the next one is tried.", "如果该端点的记录缺失，会再试下一个。"),
            Verdict.WRONG,
            Text(
                "there is one pick. A missing row ends the search, and the destination stays.",
                "只选一次。记录缺失就结束查找，目的地址不变。",
            ),
            ("bpf/kmesh/workload/include/service.h:82-88",),
            _next_one,
        ),
    ),
)
