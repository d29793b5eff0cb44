"""Question 13: how much faster, and says who."""

from __future__ import annotations

from kmesh_lab.comparison.load import How
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.instruments import counting_runs
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict

__all__ = ["QUESTION"]

_CONNECTS = 200


def _sixty(stage: Stage, it: Record) -> None:
    kmesh, sidecars = stage.comparison["kernel"], stage.comparison["sidecars http"]
    how: dict[How, str] = {"keep": "kept", "new": "new"}
    it.claimed(
        "the first byte of the answer comes sooner by Kmesh than through two Envoys",
        "走 Kmesh 时，响应的首字节比经过两个 Envoy 来得早",
        ", ".join(
            f"{name} connection {sidecars.p50(each):.0f} → {kmesh.p50(each):.0f} µs" for each, name in how.items()
        ),
        all(kmesh.p50(each) < sidecars.p50(each) for each in how),
    )
    saved = {name: 100 * (1 - kmesh.p50(each) / sidecars.p50(each)) for each, name in how.items()}
    it.instead(
        "what was saved here, by notebook 06's instrument, next to the 60 % of the README: it depends on what is asked",
        "用 06 号笔记本的工具在本机测得的节省比例，与 README 的 60% 对照：取决于测的是什么",
        ", ".join(f"{name} connection {value:.0f} %" for name, value in saved.items()),
        all(0 < value < 100 for value in saved.values()),
    )
    cpu = {each: sidecars.ratio("cpu", each).median / kmesh.ratio("cpu", each).median for each in how}
    it.instead(
        "CPU time of the whole path per request: how many times as much with sidecars",
        "整条路径上每个请求消耗的 CPU 时间：sidecar 是 Kmesh 的多少倍",
        ", ".join(f"{how[each]} connection {value:.1f} ×" for each, value in cpu.items()),
        all(value > 1 for value in cpu.values()),
    )


def _no_cost(stage: Stage, it: Record) -> None:
    program = stage.n1.datapath.programs["cgroup_connect4_prog"]
    with counting_runs(program) as counted:
        stage.shop.connect_many(stage.inventory, count=_CONNECTS)
    each = counted["run_time_ns"] / max(1, counted["run_cnt"])
    it.claimed(
        "the connect hook takes no time",
        "connect 钩子不花时间",
        f"{each:.0f} ns per connect, decision trace included",
        counted["run_time_ns"] == 0,
    )
    with counting_runs(program) as counted, stage.open() as connection:
        for _ in range(20):
            stage.served(connection)
    it.instead(
        "it runs once for a connection; the requests on it cost nothing more there",
        "每条连接只运行一次，之后的请求在这里没有额外开销",
        f"{counted['run_cnt']} run for 20 requests",
        counted["run_cnt"] == 1,
    )


def _three_to_one(stage: Stage, it: Record) -> None:
    lane = stage.sidecars
    with lane.client.connect(lane.service, 80) as connection:
        stage.served(connection)
        client, server = (envoy.counters for envoy in lane.envoys)
    accepted = client.outbound_connections, server.inbound_connections
    it.claimed(
        "sidecars: the client's Envoy accepted one, the server's Envoy one, and the application one from its Envoy",
        "sidecar：客户端 Envoy 接受一条，服务端 Envoy 接受一条，应用再从自己的 Envoy 接受一条",
        f"accepted: {'yes' if accepted[0] else 'no'}, {'yes' if accepted[1] else 'no'}, yes",
        min(accepted) >= 1,
    )
    with stage.open() as connection:
        it.claimed(
            "Kmesh: one, from pod to pod",
            "Kmesh：一条，Pod 到 Pod",
            connection.backend,
            connection.backend is stage.near,
        )
    stage.behind_waypoint()
    with stage.near.capture(port=8080) as capture, stage.open() as connection:
        stage.served(connection)
    syns = [packet for packet in capture if packet.haslayer("TCP") and str(packet["TCP"].flags) == "S"]
    it.instead(
        "with a waypoint there are two again",
        "有 waypoint 时又变成两条",
        f"to {getattr(connection.backend, 'name', '')}, and {len(syns)} from it to inventory",
        connection.backend is stage.waypoint and len(syns) == 1,
    )


QUESTION = Question(
    13,
    Text("How much faster, and says who?", "到底快了多少？依据是什么？"),
    Answer(
        Text(
            "Kmesh's README says 60 % less forwarding delay, without setup or method. What I can show: one connection instead "
            "of three, no proxy that wakes, about a microsecond in connect(2). In time that is a factor here, on this "
            "machine, with this load.",
            "Kmesh 的 README 说转发时延降低 60%，但没有给出环境和方法。我能证明的是：三条连接变成一条，没有代理被唤醒，"
            "connect(2) 里多花大约一微秒。换算成时间，只对这台机器、这种负载有效。",
        ),
        Text(
            "Counts hold anywhere: connections, wake-ups, system calls, segments. Times depend on CPU pinning, connection "
            "reuse, load, and on what the proxy does: TLS, HTTP parsing, telemetry. Compare like with like: sidecars with "
            "mTLS against Kmesh without is not one. Report medians of interleaved rounds and the spread; an A/A run must "
            "say 'no difference'. Neither the published numbers nor ours show layer 7, mTLS, a real network, or a cluster "
            "under change.",
            "计数在哪里都成立：连接数、唤醒次数、系统调用、报文段。时间取决于 CPU 绑定、连接复用、负载，以及代理做了什么：TLS、HTTP 解析、遥测。"
            "要同类相比：带 mTLS 的 sidecar 对不带 mTLS 的 Kmesh 不是公平的比较。应报告交错多轮的中位数和波动范围，A/A 测试必须得出“没有差别”。"
            "无论公布的数字还是我们的数字，都没有体现七层治理、mTLS、真实网络以及变更中的集群。",
        ),
        Text(
            "            connections   proxies   cost moves to\n"
            "sidecars         3           2      every request\n"
            "Kmesh            1           0      connect(2), once\n"
            "waypoint         2           1      every request, one proxy",
            "            连接数   代理数   开销落在\n"
            "sidecar       3        2      每个请求\n"
            "Kmesh         1        0      connect(2)，一次\n"
            "waypoint      2        1      每个请求，一个代理",
        ),
    ),
    (
        FollowUp(
            Text("Which number would you put on a slide?", "如果只放一个数字在幻灯片上，你选哪个？"),
            Text(
                "CPU time per request, as a ratio from interleaved rounds, with the setup beside it; and the counts, "
                "because they do not depend on the machine.",
                "每个请求的 CPU 时间，用交错多轮得到的比值，并注明环境；再加上各项计数，因为它们与机器无关。",
            ),
        ),
    ),
    (
        Text("says where a number comes from and what it does not show", "说明数字的来源，以及它没有体现什么"),
        Text("counts: 3 connections to 1, no wake-ups of a proxy", "计数：3 条连接变 1 条，没有代理被唤醒"),
        Text("cost moves to connect(2): once per connection", "开销移到 connect(2)：每条连接一次"),
    ),
    (
        Claim(
            "13.1",
            Text("Kmesh cuts the delay by 60 %: the README says so.", "Kmesh 把时延降低 60%，README 里就这么写。"),
            Verdict.CORRECTED,
            Text(
                "it is faster than two Envoys on this machine, too. But no method, version or hardware stands behind the 60 "
                "%, and each setup gives another number.",
                "在这台机器上它确实比两个 Envoy 快。但 60% 没有给出方法、版本和硬件，换一个环境就是另一个数字。",
            ),
            ("README.md:56-61", "docs/pics/fortio_performance_test.png"),
            _sixty,
            varies=True,
        ),
        Claim(
            "13.2",
            Text("eBPF costs nothing.", "eBPF 没有开销。"),
            Verdict.WRONG,
            Text(
                "the hook takes time at each connect, measured by the kernel itself. It does so once per connection.",
                "每次 connect 钩子都要花时间，由内核自己统计；但每条连接只有一次。",
            ),
            ("tried on this kernel",),
            _no_cost,
            varies=True,
        ),
        Claim(
            "13.3",
            Text("Three connections become one.", "三条连接变成一条。"),
            Verdict.CORRECTED,
            Text(
                "without a waypoint, yes. With one there are two.",
                "没有 waypoint 时确实如此；有 waypoint 时是两条。",
            ),
            ("docs/cn/zh/kmesh_development_guide.md:17",),
            _three_to_one,
        ),
    ),
)
