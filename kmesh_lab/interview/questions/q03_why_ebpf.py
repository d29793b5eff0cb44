"""Question 3: the virtual machine, the verifier, the object file, the hooks."""

from __future__ import annotations

from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.instruments import counting_runs, program_info, refusal
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict

__all__ = ["QUESTION"]

_BOUNDED = """
SEC("cgroup/connect4")
int bounded(struct bpf_sock_addr *ctx)
{
	volatile int found = 0;
#pragma clang loop unroll(disable)
	for (int prio = 0; prio < 100; prio++)
		found += ctx->user_port == prio;
	return found < 0 ? 0 : 1;
}
"""
_ENDLESS = """
SEC("cgroup/connect4")
int endless(struct bpf_sock_addr *ctx)
{
	while (1)
		bpf_get_prandom_u32();
	return 1;
}
"""
_UNCHECKED = """
BPF_HASH(rows, u32, u32, 8);
SEC("cgroup/connect4")
int careless(struct bpf_sock_addr *ctx)
{
	u32 key = 7;
	u32 *row = rows.lookup(&key);
	return *row == 0;
}
"""
_CHECKED = _UNCHECKED.replace("return *row == 0;", "return row ? *row == 0 : 1;")
_EXIT = 0x95  # the opcode of exit; linux/bpf.h: BPF_JMP | BPF_EXIT


def _loops(stage: Stage, it: Record) -> None:
    bounded, endless = refusal(_BOUNDED), refusal(_ENDLESS)
    it.claimed(
        "the verifier refuses a loop of 100 rounds", "验证器拒绝 100 次的循环", bounded or "accepted", bool(bounded)
    )
    it.instead(
        "it refuses a loop for which it can find no end", "它拒绝找不到出口的循环", endless or "accepted", bool(endless)
    )


def _null(stage: Stage, it: Record) -> None:
    careless, careful = refusal(_UNCHECKED), refusal(_CHECKED)
    it.claimed("a row that is used without a check", "不检查就使用查到的记录", careless or "accepted", bool(careless))
    it.claimed("the same with a check for NULL", "同样的代码加上 NULL 检查", careful or "accepted", not careful)


def _machine_code(stage: Stage, it: Record) -> None:
    program = stage.n1.datapath.programs["cgroup_connect4_prog"]
    code = stage.n1.datapath.module.image.programs["cgroup_connect4_prog"].instructions
    info = program_info(program)
    it.claimed(
        "what the compiler made are instructions of this machine's CPU",
        "编译器产生的是本机 CPU 的指令",
        f"{len(code) // 8} instructions of 8 bytes, {code[::8].count(_EXIT)} of them exit (opcode {_EXIT:#x})",
        not (len(code) % 8 == 0 and _EXIT in code[::8]),
    )
    it.instead(
        "the kernel verified it when it was loaded, and then translated it",
        "内核在加载时先验证，再翻译成机器码",
        f"verified_insns {info['verified_insns']}, prog_jited {info['prog_jited']}",
        int(info["verified_insns"]) > 0,
    )


def _section(stage: Stage, it: Record) -> None:
    sections = stage.n1.datapath.module.sections
    types = {name: program_info(program)["prog_type"] for name, program in stage.n1.datapath.programs.items()}
    it.claimed(
        "programs of another section are of another type: cgroup/connect4, sockops, sk_msg",
        "段名不同，程序类型也不同：cgroup/connect4、sockops、sk_msg",
        ", ".join(
            f"{sections[name]} {types[name]}" for name in ("cgroup_connect4_prog", "sockops_prog", "sendmsg_prog")
        ),
        len({types[name] for name in ("cgroup_connect4_prog", "sockops_prog", "sendmsg_prog")}) == 3,
    )
    loose = stage.n1.datapath.module.load("cgroup_connect4_prog")
    with counting_runs(loose) as counted, stage.open() as connection:
        stage.served(connection)
    it.claimed(
        "a program that is loaded, but attached by nobody, runs at a connect",
        "加载了但没有挂载的程序会在 connect 时运行",
        f"{counted['run_cnt']} runs",
        counted["run_cnt"] > 0,
    )
    with counting_runs(stage.n1.datapath.programs["cgroup_connect4_prog"]) as counted, stage.open():
        pass
    it.instead(
        "the same program, attached to the node's cgroup by a link, does",
        "同一程序通过 link 挂到节点的 cgroup 后才会运行",
        f"{counted['run_cnt']} runs",
        counted["run_cnt"] >= 1,
    )


def _order(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        stage.served(connection)
    kinds = [step.kind for step in connection.decision.steps]
    places = [kinds.index(kind) for kind in ("VERDICT", "ESTABLISHED", "SOCKHASH", "TLV", "CLOSED")]
    it.claimed(
        "connect hook, then sockops at the handshake, then sk_msg at the first send, then sockops at the close",
        "先是 connect 钩子，握手时 sockops，第一次发送时 sk_msg，关闭时 sockops",
        " → ".join(kinds[place] for place in places),
        places == sorted(places),
    )


QUESTION = Question(
    3,
    Text(
        "Why eBPF? What is its virtual machine, what does the verifier refuse, what is in the .o file, what does SEC(...) "
        "do, and which hook runs when?",
        "为什么用 eBPF？它的虚拟机是什么样的？验证器会拒绝什么？.o 文件里有什么？SEC(...) 起什么作用？各个钩子在什么时候运行？",
    ),
    Answer(
        Text(
            "It adds logic to the kernel without a module and without a new kernel. The programs are bytecode for a small "
            "register machine; the verifier proves that each path ends and touches only memory that it may; then the JIT "
            "makes machine code of it.",
            "eBPF 可以在不写内核模块、不换内核的情况下给内核增加逻辑。程序是一台小型寄存器机的字节码；"
            "验证器证明每条路径都会结束、只访问允许的内存；之后 JIT 把它翻译成机器码。",
        ),
        Text(
            "Eleven 64-bit registers, r0 for the result, r1 to r5 for arguments, r10 the frame pointer; 512 bytes of "
            "stack; helpers instead of libraries. The verifier walks the paths and refuses unchecked map pointers, reads "
            "beyond a packet or a stack, loops it cannot see the end of, and unknown helpers. The .o is an ELF file: one "
            "section per program, .maps, BTF types, relocations. SEC() is only the section's name: by it the loader "
            "chooses program type and attach type. Something still has to attach: a link to a cgroup, or the sockhash. "
            "Order: connect4, sockops when established, sk_msg at send, cgroup_skb per packet, sockops at close.",
            "它有 11 个 64 位寄存器：r0 放返回值，r1 到 r5 放参数，r10 是栈帧指针；栈只有 512 字节；用 helper 函数代替库。"
            "验证器逐条路径检查，拒绝：未判空的 map 指针、越过报文或栈的访问、看不到终点的循环、未知的 helper。"
            ".o 是 ELF 文件：每个程序一个段，另有 .maps、BTF 类型和重定位信息。SEC() 只是段名，加载器据此选择程序类型和挂载类型；"
            "之后还得有人去挂载：用 link 挂到 cgroup，或挂到 sockhash。顺序：connect4，建连时 sockops，发送时 sk_msg，"
            "每个报文 cgroup_skb，关闭时 sockops。",
        ),
        Text(
            "C ─clang─► .o (ELF: bytecode, .maps, BTF) ─load─► verifier ─► JIT ─attach─► hook\n"
            "connect(2): cgroup/connect4 │ SYN-ACK: sockops │ send(2): sk_msg │ packet: cgroup_skb │ close: sockops",
            "C ─clang─► .o（ELF：字节码、.maps、BTF）─加载─► 验证器 ─► JIT ─挂载─► 钩子\n"
            "connect(2)：cgroup/connect4 │ SYN-ACK：sockops │ send(2)：sk_msg │ 报文：cgroup_skb │ 关闭：sockops",
        ),
    ),
    (
        FollowUp(
            Text("Why not a kernel module, or iptables?", "为什么不用内核模块或 iptables？"),
            Text(
                "A module can crash the kernel and must be built for each version. iptables works on packets, after the "
                "socket was connected: it needs conntrack and undoes the translation for each answer.",
                "内核模块可能让内核崩溃，还要为每个版本编译。iptables 工作在报文层面、套接字连接之后，"
                "需要 conntrack，而且每个响应都要做反向转换。",
            ),
        ),
    ),
    (
        Text("verifier: every path ends, every pointer is checked", "验证器：每条路径都结束，每个指针都检查"),
        Text(
            "the .o holds bytecode, maps and BTF; SEC() is a name for the loader",
            ".o 里是字节码、map 和 BTF；SEC() 是给加载器看的名字",
        ),
        Text("the hooks in their order", "各钩子的先后顺序"),
    ),
    (
        Claim(
            "3.1",
            Text("Loops are forbidden.", "eBPF 不允许循环。"),
            Verdict.WRONG,
            Text(
                "outdated: since Linux 5.3 loops are allowed when the verifier can see their end. Kmesh's FAILOVER is one "
                "over seven priorities.",
                "过时了：从 Linux 5.3 起，只要验证器能看到终点就允许循环。Kmesh 的 FAILOVER 就是对七个优先级的循环。",
            ),
            ("bpf/kmesh/workload/include/service.h:82-88", "Linux 5.3"),
            _loops,
        ),
        Claim(
            "3.2",
            Text(
                "A pointer from a map lookup must be checked before it is used.",
                "map 查找返回的指针必须先检查再使用。",
            ),
            Verdict.HOLDS,
            Text("without the check the program is not loaded.", "不检查，程序就无法加载。"),
            ("bpf/kmesh/workload/include/frontend.h:16-62",),
            _null,
        ),
        Claim(
            "3.3",
            Text("The .o file holds machine code of the CPU.", ".o 文件里是 CPU 的机器码。"),
            Verdict.WRONG,
            Text(
                "it holds eBPF bytecode, the same on every CPU; the kernel translates it after it has verified it.",
                "里面是 eBPF 字节码，与 CPU 无关；内核验证之后才翻译成机器码。",
            ),
            ("linux/bpf.h of the kernel", "tried on this kernel"),
            _machine_code,
            varies=True,
        ),
        Claim(
            "3.4",
            Text("SEC(...) decides at which hook the program runs.", "SEC(...) 决定程序在哪个钩子上运行。"),
            Verdict.CORRECTED,
            Text(
                "it decides of which type the program is. It runs when somebody attaches it, and for those whom the place "
                "of attachment covers.",
                "它决定的是程序类型。只有被挂载之后才会运行，而且只对挂载点覆盖的进程运行。",
            ),
            ("pkg/bpf/workload/sock_connection.go:106-170",),
            _section,
        ),
        Claim(
            "3.5",
            Text(
                "For one connection the order is: connect hook, sockops, sk_msg, sockops.",
                "对一条连接来说，顺序是 connect 钩子、sockops、sk_msg、sockops。",
            ),
            Verdict.HOLDS,
            Text(
                "as long as it goes to a waypoint; otherwise sk_msg has nothing to do and is not run.",
                "前提是它走 waypoint；否则 sk_msg 没有事可做，不会运行。",
            ),
            ("bpf/kmesh/workload/sockops.c:152-200", "bpf/kmesh/workload/sendmsg.c:90-111"),
            _order,
        ),
    ),
)
