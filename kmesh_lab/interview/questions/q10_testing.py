"""Question 10: testing programs that live in the kernel."""

from __future__ import annotations

from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.kernel.testrun import outcome_on_packet

__all__ = ["QUESTION"]


def _support(stage: Stage, it: Record) -> None:
    programs = stage.n1.datapath.programs
    for name in ("cgroup_connect4_prog", "sockops_prog", "sendmsg_prog", "cgroup_skb_egress_prog"):
        section, result = programs[name].section, outcome_on_packet(programs[name])
        it.claimed(f"{section} does not support it", f"{section} 不支持", result, result == "ENOTSUPP")


def _reaches(stage: Stage, it: Record) -> None:
    stage.n1.configure(monitoring=True, periodic_report=True)
    try:
        with stage.lab.events() as events:
            result = outcome_on_packet(stage.n1.datapath.programs["cgroup_skb_egress_prog"])
    finally:
        stage.n1.configure()
    it.claimed(
        "a test run of cgroup_skb makes it report an event",
        "试运行 cgroup_skb 能让它上报事件",
        f"{len(events)} events",
        len(events) > 0,
    )
    it.instead(
        "it runs and passes the packet, but the made-up packet has no TCP socket, so the report is never reached",
        "它运行了并放行报文，但构造的报文没有 TCP 套接字，走不到上报代码",
        result,
        result == "returned 1",
    )


def _mock(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        answer = stage.served(connection)
    kinds = [step.kind for step in connection.decision.steps]
    packet = stage.waypoint.captured()
    it.claimed(
        "a test of sk_msg without a mocked socket storage sees no TLV",
        "不模拟套接字存储，sk_msg 的测试就看不到 TLV",
        packet.summary(),
        "TLV" not in kinds,
    )
    it.instead(
        "with the connect hook and sockops attached as well, the storage is the real one",
        "把 connect 钩子和 sockops 也挂上，存储就是真实的",
        f"{packet.addr} port {packet.port}, answer from {answer}",
        packet.addr == stage.inventory.vips[0] and packet.port == 80,
    )


def _passes_without(stage: Stage, it: Record) -> None:
    def asserts(pod_in_mesh: bool) -> bool:
        """What Kmesh's test of a backend without a waypoint asserts: the peer is the address that was asked for."""
        stage.shop.enroll(pod_in_mesh)
        with stage.shop.connect(stage.near) as connection:
            return connection.peer == (stage.near.address, 8080)

    with_program, without = asserts(True), asserts(False)
    it.claimed(
        "the assertion fails when the program leaves the pod alone",
        "程序不处理该 Pod 时断言会失败",
        f"passes: {without}",
        not without,
    )
    it.instead(
        "it passes in both cases, so it tests nothing",
        "两种情况都通过，所以它什么也没测",
        f"{with_program} and {without}",
        with_program and without,
    )


QUESTION = Question(
    10,
    Text(
        "How did you test programs that live in the kernel, and why not with BPF_PROG_TEST_RUN? What had to be mocked?",
        "你是怎么测试运行在内核里的程序的？为什么不用 BPF_PROG_TEST_RUN？需要模拟（mock）什么？",
    ),
    Answer(
        Text(
            "By a built context: load the program, attach it to a cgroup, trigger it with a real socket, and read the maps, "
            "the ring buffer or the bytes. BPF_PROG_TEST_RUN accepts cgroup_skb and XDP, but not connect hooks, sock_ops or "
            "sk_msg. Kmesh's tests mock the socket storage, because they load one program alone.",
            "构造真实环境：加载程序、挂到 cgroup、用真实套接字触发，再读取 map、ring buffer 或字节。"
            "BPF_PROG_TEST_RUN 支持 cgroup_skb 和 XDP，但不支持 connect 钩子、sock_ops 和 sk_msg。"
            "Kmesh 的测试要模拟套接字存储，因为它们只单独加载一个程序。",
        ),
        Text(
            "Six steps: compile for the bpf target; load; find program and maps by name; attach (sk_msg: to the sockhash, "
            "then insert a socket); trigger; read and verify. For sk_msg alone bpf_sk_storage_get is replaced at compile "
            "time, so that it returns a known original destination. With all programs attached nothing needs a mock. A good "
            "test fails when the program is absent, checks bytes and not only counts, and has a deadline. Upstream's BPF "
            "tests are skipped in CI since a flag was lost, and seven of thirty assert nothing.",
            "六步：编译成 bpf 目标；加载；按名字取程序和 map；挂载（sk_msg 挂到 sockhash，再放入套接字）；触发；读取并校验。"
            "单独测试 sk_msg 时，在编译期替换 bpf_sk_storage_get，让它返回已知的原始目的地址；全部程序都挂上时不需要任何 mock。"
            "好的测试在没有程序时必须失败，要校验字节而不只是数量，还要有超时。上游的 BPF 测试因为丢了一个参数在 CI 中被跳过，30 个里有 7 个什么都没断言。",
        ),
        Text(
            "clang ─► load ─► maps by name ─► attach to own cgroup ─► socket ─► assert on bytes\n"
            "TEST_RUN: XDP ✓  tc ✓  cgroup_skb ✓ (no TCP socket)  connect ✗  sock_ops ✗  sk_msg ✗",
            "clang ─► 加载 ─► 按名字取 map ─► 挂到自己的 cgroup ─► 套接字 ─► 断言字节\n"
            "TEST_RUN：XDP ✓  tc ✓  cgroup_skb ✓（没有 TCP 套接字）  connect ✗  sock_ops ✗  sk_msg ✗",
        ),
    ),
    (
        FollowUp(
            Text("How do you know that your tests are good?", "你怎么知道测试写得好？"),
            Text(
                "By mutants: change one line of the program, and at least one test must fail. A mutant that survives shows "
                "what is not tested.",
                "用变异测试：改动程序的一行，至少要有一个测试失败。存活的变异体说明哪里没有被测到。",
            ),
        ),
    ),
    (
        Text("built context: cgroup, real sockets, maps read afterwards", "构造环境：cgroup、真实套接字、事后读取 map"),
        Text(
            "TEST_RUN: which types accept it, and that cgroup_skb does", "TEST_RUN：哪些类型支持，cgroup_skb 是支持的"
        ),
        Text("socket storage is mocked when one program is tested alone", "单独测试一个程序时要模拟套接字存储"),
    ),
    (
        Claim(
            "10.1",
            Text("These program types do not support BPF_PROG_TEST_RUN.", "这些程序类型不支持 BPF_PROG_TEST_RUN。"),
            Verdict.CORRECTED,
            Text(
                "connect hooks, sock_ops and sk_msg answer ENOTSUPP (524); cgroup_skb is supported.",
                "connect 钩子、sock_ops 和 sk_msg 返回 ENOTSUPP（524）；cgroup_skb 是支持的。",
            ),
            ("tried on this kernel", "test/bpf_ut/bpftest/bpf_test.go:185-216"),
            _support,
        ),
        Claim(
            "10.2",
            Text(
                "So the reports of cgroup_skb can be tested by BPF_PROG_TEST_RUN.",
                "所以 cgroup_skb 的上报可以用 BPF_PROG_TEST_RUN 测试。",
            ),
            Verdict.WRONG,
            Text(
                "the run's socket is no TCP socket, so the program returns before it reports.",
                "试运行用的套接字不是 TCP 套接字，程序在上报之前就返回了。",
            ),
            ("bpf/kmesh/workload/cgroup_skb.c",),
            _reaches,
        ),
        Claim(
            "10.3",
            Text("The socket storage must be mocked to test sk_msg.", "要测试 sk_msg，必须模拟套接字存储。"),
            Verdict.WRONG,
            Text(
                "only when sk_msg is loaded alone, as Kmesh's unit tests do. With the other programs attached the storage "
                "is real.",
                "只有像 Kmesh 单元测试那样单独加载 sk_msg 时才需要。其他程序都挂上时，存储就是真实的。",
            ),
            ("test/bpf_ut", "test/bpf_ut/bpftest/workload_test.go"),
            _mock,
        ),
        Claim(
            "10.4",
            Text(
                "A test that asserts 'the address did not change' shows that the program is right.",
                "断言“地址没有改变”的测试能证明程序正确。",
            ),
            Verdict.WRONG,
            Text(
                "it also passes when the program does nothing, or is not attached at all.",
                "程序什么都不做、甚至根本没有挂载时，它也会通过。",
            ),
            ("test/bpf_ut/bpftest/workload_test.go",),
            _passes_without,
        ),
    ),
)
