"""Question 11: what Docker and a cluster add to such tests."""

from __future__ import annotations

import os
from pathlib import Path

from kmesh_lab.exercises import attempt
from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.kernel.netns import run_in_new
from kmesh_lab.traffic.agent import ENROL_PORT

__all__ = ["QUESTION"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _own_kernel(stage: Stage, it: Record) -> None:
    def kernel() -> tuple[str, str]:
        return os.uname().release, _BOOT.read_text().strip()

    outside, inside = kernel(), run_in_new(kernel)
    spaces = [os.stat(f"/proc/{pid}/ns/net").st_ino for pid in ("self", str(stage.shop.pid))]
    it.claimed(
        "a namespace, of which a container is made, has a kernel of its own",
        "构成容器的命名空间有自己的内核",
        f"release {outside[0]}, boot id the same: {outside == inside}",
        outside != inside,
    )
    it.instead(
        "a pod of the lab is in another network namespace, and its connect runs in the same kernel's program",
        "lab 的 Pod 在另一个网络命名空间，它的 connect 运行的是同一内核里的程序",
        attempt(stage.shop, stage.inventory),
        spaces[0] != spaces[1] and attempt(stage.shop, stage.inventory).decision.rewritten,
    )


def _cluster_needed(stage: Stage, it: Record) -> None:
    names = {Path(f"/proc/{pid}/comm") for pid in os.listdir("/proc") if pid.isdigit()}
    running = {comm.read_text().strip() for comm in names if comm.exists()}
    found = running & {"kubelet", "kube-apiserver", "containerd", "dockerd", "istiod", "pilot-discovery"}
    tried = attempt(stage.shop, stage.inventory)
    it.claimed(
        "the mesh decides about a connect only where a cluster runs",
        "只有运行着集群的地方，网格才会对 connect 做决策",
        f"cluster processes here: {', '.join(sorted(found)) or 'none'}; {tried}",
        not tried.reached,
    )
    it.instead(
        "it takes a cgroup, a network namespace, the programs and rows in the maps",
        "只需要一个 cgroup、一个网络命名空间、这些程序和 map 里的记录",
        f"{len(stage.n1.datapath.programs)} programs, {len(stage.n1.maps.backend)} backends",
        tried.reached == "inventory-a",
    )


def _cni(stage: Stage, it: Record) -> None:
    pod = stage.lab.pod("walk-in", node=stage.n1, enrolled=False)
    try:
        before = attempt(pod, stage.inventory)
        it.claimed(
            "a pod that nobody enrolled is outside the mesh",
            "没有人纳管的 Pod 在网格之外",
            before,
            not before.reached and not pod.enrolled,
        )
        pod.process.request("control", port=ENROL_PORT, family=4)
        after = attempt(pod, stage.inventory)
        it.claimed(
            "no process but the CNI plugin's can enrol it",
            "除了 CNI 插件，没有别的进程能纳管它",
            f"one connect of the pod itself to 0.0.0.2:{ENROL_PORT}, then {after}",
            not after.reached,
        )
    finally:
        stage.lab.delete(pod)


QUESTION = Question(
    11,
    Text(
        "What does Docker, what does a Kubernetes cluster add to such tests, and what can be done without them?",
        "对这类测试来说，Docker 和 Kubernetes 集群分别增加了什么？没有它们能做到什么？",
    ),
    Answer(
        Text(
            "Docker pins the user space: clang, libbpf, Go. The kernel stays the host's. A cluster adds what writes the "
            "maps: istiod, the daemon, the CNI plugin, and real waypoints. The programs themselves need a cgroup, a "
            "network namespace and sockets.",
            "Docker 固定用户态环境：clang、libbpf、Go；内核仍是宿主机的。集群增加的是写 map 的那一方：istiod、守护进程、CNI 插件，"
            "还有真正的 waypoint。程序本身只需要 cgroup、网络命名空间和套接字。",
        ),
        Text(
            "Without either: every decision, the TLV, the events, full maps, mutants; that is unit and integration test, in "
            "milliseconds. Docker: the same tool versions for everybody; needs --privileged or CAP_SYS_ADMIN, "
            "CAP_NET_ADMIN, CAP_NET_RAW, and cgroup2 mounted writable. For other kernels one needs a VM, not a container. Cluster (kind in CI): xDS from "
            "istiod, enrolment by labels through CNI, restart and upgrade with pinned maps, an Envoy waypoint with the TLV "
            "filter, kube-proxy beside it, interplay with the network plugin.",
            "两者都没有：可以测全部决策、TLV、事件、map 写满、变异测试，即毫秒级的单元和集成测试。"
            "Docker：让所有人工具版本一致；需要 --privileged 或 CAP_SYS_ADMIN、CAP_NET_ADMIN、CAP_NET_RAW，以及可写的 cgroup2。要测别的内核，需要虚拟机而不是容器。"
            "集群（CI 中用 kind）：istiod 下发的 xDS、CNI 按标签纳管、pin 住 map 的重启与升级、带 TLV 过滤器的 Envoy waypoint、并存的 kube-proxy、与网络插件的配合。",
        ),
        Text(
            "decisions, bytes, events, full maps   ─ cgroup + netns + sockets\n"
            "same tools for everybody              ─ + container image\n"
            "another kernel                        ─ + VM\n"
            "xDS, CNI, restart, Envoy, kube-proxy  ─ + cluster",
            "决策、字节、事件、map 写满        ─ cgroup + netns + 套接字\n"
            "所有人工具一致                    ─ + 容器镜像\n"
            "换一个内核                        ─ + 虚拟机\n"
            "xDS、CNI、重启、Envoy、kube-proxy ─ + 集群",
        ),
    ),
    (
        FollowUp(
            Text("What can go wrong when BPF tests share one machine?", "多个 BPF 测试共用一台机器会出什么问题？"),
            Text(
                "A program on the root cgroup sees every process of the host, the tests of others included. Each test needs "
                "a cgroup of its own, and links that end with its process.",
                "挂在根 cgroup 上的程序会影响主机上所有进程，包括别人的测试。每个测试应该用自己的 cgroup，并用随进程结束的 link。",
            ),
        ),
    ),
    (
        Text("a container shares the host's kernel", "容器与宿主机共享内核"),
        Text("a cluster adds the control plane, CNI and real waypoints", "集群增加控制面、CNI 和真实的 waypoint"),
        Text(
            "decisions, TLV and events can be tested with cgroup and netns", "用 cgroup 和 netns 就能测决策、TLV 和事件"
        ),
    ),
    (
        Claim(
            "11.1",
            Text(
                "In Docker the test runs on the image's kernel, the same everywhere.",
                "在 Docker 里，测试跑在镜像自带的内核上，到处都一样。",
            ),
            Verdict.WRONG,
            Text(
                "an image has no kernel. Namespaces change what a process sees, not which kernel runs it.",
                "镜像里没有内核。命名空间改变的是进程看到的东西，不改变运行它的内核。",
            ),
            ("namespaces(7)",),
            _own_kernel,
            varies=True,
        ),
        Claim(
            "11.2",
            Text(
                "One needs a Kubernetes cluster to see Kmesh's programs decide.",
                "要看到 Kmesh 程序做决策，必须有 Kubernetes 集群。",
            ),
            Verdict.WRONG,
            Text(
                "the programs know cgroups, sockets and maps. What a cluster adds is who writes the maps.",
                "程序只认识 cgroup、套接字和 map。集群增加的是写 map 的那一方。",
            ),
            ("bpf/kmesh/workload/cgroup_sock.c:89-146",),
            _cluster_needed,
            varies=True,
        ),
        Claim(
            "11.3",
            Text("Without the CNI plugin no pod can be enrolled.", "没有 CNI 插件就无法纳管 Pod。"),
            Verdict.CORRECTED,
            Text(
                "somebody has to do it, and in a cluster the CNI plugin does. But it is one connect to 0.0.0.2:929 from "
                "inside the pod, and any process there may make it.",
                "确实要有人来做，在集群里由 CNI 插件完成。但它只是在 Pod 内向 0.0.0.2:929 发起一次 connect，Pod 里任何进程都能做。",
            ),
            ("pkg/cni/plugin/plugin.go:215", "pkg/nets/nets.go:159-218"),
            _cni,
        ),
    ),
)
