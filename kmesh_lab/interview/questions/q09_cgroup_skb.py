"""Question 9: what the cgroup_skb program does."""

from __future__ import annotations

import struct
import time

from kmesh_lab.datapath.events import Events
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.instruments import counting_runs
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.kernel.testrun import outcome_on_packet
from kmesh_lab.lab.connection import Connection

__all__ = ["QUESTION"]

_PACKETS = 20
_SIX_SECONDS = 6_000_000_000  # ns; the program reports what was last reported more than five seconds ago


def _age(stage: Stage, connection: Connection) -> None:
    """Set the socket's last report back by six seconds, so that nobody has to wait for them."""
    storage = stage.n1.datapath.maps["km_sockstorage"]
    layout = stage.n1.datapath.module.layouts["km_sockstorage"][1]
    key = struct.pack("i", connection.socket.fileno())
    row = storage.lookup(key)
    if row is not None:
        fields = layout.unpack(row)
        fields["last_report_ns"] = time.monotonic_ns() - _SIX_SECONDS
        storage.update(key, row[:8] + fields["last_report_ns"].to_bytes(8, "little") + row[16:])


def _of(events: Events, connection: Connection) -> int:
    """How many events were about the client's side of this connection."""
    port = connection.socket.getsockname()[1]
    return len([each for each in events if each.direction == "OUTBOUND" and each.source[1] == port])


def _wait_for_quiet(stage: Stage) -> None:
    """Until three looks in a row saw no packet leave: an acknowledgement may come 40 ms late."""
    quiet = 0
    for _ in range(50):
        with counting_runs(stage.n1.datapath.programs["cgroup_skb_egress_prog"]) as counted, stage.lab.events():
            pass
        quiet = 0 if counted["run_cnt"] else quiet + 1
        if quiet == 3:
            return


def _every_packet(stage: Stage, it: Record) -> None:
    stage.n1.configure(monitoring=True, periodic_report=True)
    program = stage.n1.datapath.programs["cgroup_skb_egress_prog"]
    try:
        with stage.open() as connection:
            stage.served(connection)
            with stage.lab.events() as events, counting_runs(program) as counted:
                for _ in range(_PACKETS):
                    stage.served(connection)
            it.claimed(
                f"{_PACKETS} requests: the program ran for every packet and reported each",
                f"{_PACKETS} 个请求：程序对每个报文都运行，并逐一上报",
                f"{counted['run_cnt']} runs, {_of(events, connection)} events",
                counted["run_cnt"] >= _PACKETS and _of(events, connection) >= _PACKETS,
            )
            _wait_for_quiet(stage)
            _age(stage, connection)
            with stage.lab.events() as idle:
                pass
            with stage.lab.events() as late:
                stage.served(connection)
                stage.served(connection)
            it.instead(
                "when the last report is older than five seconds, the next packet makes one event, and only one",
                "距上次上报超过 5 秒时，下一个报文产生一个事件，而且只有一个",
                f"{_of(late, connection)} event",
                _of(late, connection) == 1,
            )
            it.instead(
                "without a packet there is none: it is no timer",
                "没有报文就没有事件：它不是定时器",
                f"{_of(idle, connection)} events",
                _of(idle, connection) == 0,
            )
    finally:
        stage.n1.configure()


def _by_default(stage: Stage, it: Record) -> None:
    with stage.open() as connection:
        stage.served(connection)
        _age(stage, connection)
        with stage.lab.events() as events:
            stage.served(connection)
        it.claimed(
            "with Kmesh's defaults a connection that is old enough is reported",
            "Kmesh 默认配置下，足够久的连接会被上报",
            f"{_of(events, connection)} events",
            _of(events, connection) > 0,
        )


def _open_close(stage: Stage, it: Record) -> None:
    with stage.lab.events() as events, stage.open() as connection:
        stage.served(connection)
        port = connection.socket.getsockname()[1]
    states = [each.state for each in events if each.direction == "OUTBOUND" and each.source[1] == port]
    it.claimed(
        "open and close are reported, though periodic reports are off and cgroup_skb reports nothing",
        "周期上报关闭、cgroup_skb 不上报时，仍有建立和关闭事件",
        ", ".join(states),
        states == ["ESTABLISHED", "CLOSE"],
    )
    files = _reporters(connection)
    it.claimed("sockops reported the steps", "步骤由 sockops 上报", ", ".join(files), files == {"sockops.c"})


def _reporters(connection: Connection) -> set[str]:
    steps = [step for step in connection.decision.steps if step.kind in ("ESTABLISHED", "CLOSED")]
    return {step.location.file for step in steps if step.location}


def _drops(stage: Stage, it: Record) -> None:
    results = [outcome_on_packet(stage.n1.datapath.programs[f"cgroup_skb_{way}_prog"]) for way in ("ingress", "egress")]
    it.claimed(
        "on some packet it returns 0, which drops it",
        "对某些报文它返回 0，即丢弃",
        " / ".join(results),
        "returned 0" in results,
    )
    returns = {
        line.strip() for line in stage.n1.datapath.module.text.splitlines() if line.strip().startswith("return SK_")
    }
    it.instead(
        "the C knows no other verdict than SK_PASS",
        "C 代码里除了 SK_PASS 没有别的返回值",
        ", ".join(sorted(returns)),
        returns == {"return SK_PASS;"},
    )


QUESTION = Question(
    9,
    Text("What does the cgroup_skb program do, and what does it not do?", "cgroup_skb 程序做什么？不做什么？"),
    Answer(
        Text(
            "It adds periodic reports to long connections: at a packet, when the last report is more than five seconds "
            "old, it writes one metric event to the ring buffer. It is off by default, changes no packet and drops none. "
            "Open and close are reported by sockops.",
            "它为长连接补充周期性上报：有报文经过、且距上次上报超过 5 秒时，往 ring buffer 写一个指标事件。"
            "默认关闭，不修改也不丢弃报文。连接的建立和关闭由 sockops 上报。",
        ),
        Text(
            "Hooks ingress and egress, called for every IP packet of a socket of the cgroup. Conditions in order: monitoring "
            "and periodic report on; IPv4 or IPv6; a full TCP socket; its address in km_manage with value 0; storage "
            "exists and has been reported before; more than 5,000,000,000 ns ago. Then the same 128-byte event that sockops "
            "writes, with state ESTABLISHED. User space makes deltas, metrics and an access log of them; text logs go "
            "another way, km_log_event.",
            "挂在 ingress 和 egress，cgroup 内套接字的每个 IP 报文都会触发。依次判断：监控和周期上报已开启；IPv4 或 IPv6；"
            "完整的 TCP 套接字；地址在 km_manage 中且值为 0；存储存在且上报过；距上次超过 5,000,000,000 纳秒。"
            "然后写入与 sockops 相同的 128 字节事件，状态为 ESTABLISHED。用户态据此计算增量、指标和访问日志；文本日志走另一个 ring buffer：km_log_event。",
        ),
        Text(
            "packet ─► on? ─► managed? ─► storage? ─► now − last_report > 5 s? ─► km_tcp_probe\n"
            "   └──────────────── always: return 1 (pass) ────────────────┘",
            "报文 ─► 已开启？─► 已纳管？─► 有存储？─► 现在 − 上次 > 5 秒？─► km_tcp_probe\n"
            "   └──────────────── 无论如何：返回 1（放行）────────────────┘",
        ),
    ),
    (
        FollowUp(
            Text("Why five seconds, and what about idle connections?", "为什么是 5 秒？空闲连接怎么办？"),
            Text(
                "A compromise between meaning and cost, set in the proposal for long connections. An idle connection has no "
                "packets, so it is silent until the next packet or its close.",
                "这是在意义和开销之间的折中，写在长连接指标的提案里。空闲连接没有报文，所以到下一个报文或关闭之前都不会上报。",
            ),
        ),
    ),
    (
        Text("periodic metric events for long connections, off by default", "为长连接周期性上报指标，默认关闭"),
        Text("driven by packets, not by a timer; at most one in five seconds", "由报文驱动而非定时器；5 秒最多一次"),
        Text("it never drops and never changes a packet", "从不丢弃、从不修改报文"),
    ),
    (
        Claim(
            "9.1",
            Text("It writes a log for every packet.", "它为每个报文写一条日志。"),
            Verdict.WRONG,
            Text(
                "it runs for every packet, but writes a metric event at most once in five seconds and connection, and "
                "only if periodic reports are on.",
                "它对每个报文都运行，但每条连接 5 秒内最多写一个指标事件，而且要先打开周期上报。",
            ),
            ("bpf/kmesh/probes/probe.h:87-107", "bpf/kmesh/workload/cgroup_skb.c"),
            _every_packet,
            varies=True,
        ),
        Claim(
            "9.2",
            Text("It is active by default.", "它默认就是开启的。"),
            Verdict.WRONG,
            Text(
                "--periodic-report is false by default, and it needs --monitoring as well.",
                "--periodic-report 默认为 false，而且还需要 --monitoring。",
            ),
            ("daemon/options/bpf.go:44-45", "pkg/controller/controller.go:156-167"),
            _by_default,
        ),
        Claim(
            "9.3",
            Text(
                "Events of open and close do not come from it but from sockops.",
                "建立和关闭事件不是它产生的，而是来自 sockops。",
            ),
            Verdict.HOLDS,
            Text("they come with cgroup_skb switched off, too.", "关掉 cgroup_skb 的上报，它们照样产生。"),
            ("bpf/kmesh/workload/sockops.c:152-200",),
            _open_close,
        ),
        Claim(
            "9.4",
            Text("It enforces policy by dropping packets.", "它通过丢弃报文来执行策略。"),
            Verdict.WRONG,
            Text(
                "it always returns 1. Authorisation is another program (XDP), or user space.",
                "它总是返回 1。授权由另一个程序（XDP）或用户态完成。",
            ),
            ("bpf/kmesh/workload/cgroup_skb.c", "pkg/bpf/workload/xdp.go:98-117"),
            _drops,
        ),
    ),
)
