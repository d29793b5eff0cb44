"""The owner's side of an Envoy: start it in a pod, configure it, ask it what it did."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kmesh_lab.errors import LabError
from kmesh_lab.kernel.proxying import envoy_binary
from kmesh_lab.traffic.envoy_config import ADMIN_PORT, Certificate, Config, bootstrap, service_of
from kmesh_lab.traffic.pod_process import PodProcess
from kmesh_lab.traffic.redirect import OUTBOUND_PORT

__all__ = ["Counters", "Envoy", "EnvoyEndpoint", "Memory", "memory_of"]

_PATIENCE = 120.0  # seconds in which Envoy takes over a configuration; 5,000 services need three, on a quiet machine
_PROBLEMS = ("[error]", "[critical]", "rejected")  # from what may matter to what does
_ENTRY = re.compile(r"^\[\d{4}-\d\d-\d\d [^]]*\]\[\d+\]", re.MULTILINE)
_PREFIX = re.compile(r"^(\[[^]]*\] ?)+")  # level, component and line of Envoy's source
_LONGEST = 400
_LISTENER = re.compile(r"listener\..*[\d\]]_(\d+)\.downstream_cx_total")


class Counters(NamedTuple):
    """Connections and requests that came to an Envoy since it started: from its own pod, and from others.

    Requests are counted by HTTP proxies only.
    """

    outbound_connections: int
    outbound_requests: int
    inbound_connections: int
    inbound_requests: int


class EnvoyEndpoint(NamedTuple):
    """An endpoint as Envoy has it: ``priority`` 0 is used first; connections made and requests sent there so far."""

    hostname: str
    port: int
    address: str
    target_port: int
    priority: int
    connections: int
    requests: int


@dataclass(frozen=True)
class Memory:
    """Memory of a process in bytes.

    ``rss`` is all that is resident, ``pss`` the same with shared pages (the program) divided among those who share
    them, ``private`` what the process has written itself and nobody can share.
    """

    rss: int
    pss: int
    private: int


def memory_of(pid: int) -> Memory:
    """What a process takes now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kb = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return Memory(1024 * kb["Rss"], 1024 * kb["Pss"], 1024 * kb["Private_Dirty"])


class Envoy:
    """The Envoy of a pod whose process was started as "proxy"; it ends with that process."""

    def __init__(self, process: PodProcess, certificate: Certificate | None = None) -> None:
        self._process, self._certificate = process, certificate
        self.pid = 0

    def start(self, config: Config) -> None:
        """Start it with a configuration and wait until it serves. `LabError` with Envoy's own words if it does not."""
        binary = envoy_binary()
        self._process.request("envoy_configure", resources=_texts(config), timeout=_PATIENCE)
        self._start(binary)

    def restart(self) -> None:
        """Start it again, after it has ended, with the configuration that it had or has missed."""
        self._start(envoy_binary())

    def _start(self, binary: Path) -> None:
        values = {"binary": str(binary), "bootstrap": bootstrap(self._process.name, self._certificate)}
        self.pid = int(self._process.request("envoy_start", **values)["pid"])
        self._judge(self._process.request("envoy_loaded", timeout=_PATIENCE)["accepted"])
        end = time.monotonic() + _PATIENCE
        while not self._is_ready():
            if time.monotonic() > end:
                raise self._problem(f"did not serve within {_PATIENCE:.0f} s")
            time.sleep(0.002)

    def _is_ready(self) -> bool:
        try:
            return self.admin("/ready") == "LIVE\n"
        except OSError:
            if not self.alive:
                raise self._problem("has ended") from None
            return False

    def configure(self, config: Config) -> None:
        """Give it another configuration; returns when it is in force, some milliseconds later.

        An Envoy that has ended gets it when it is started again. `LabError` if Envoy refuses it.
        """
        accepted = self._process.request("envoy_configure", resources=_texts(config), timeout=_PATIENCE)["accepted"]
        if self.alive:
            self._judge(accepted)

    @property
    def alive(self) -> bool:
        """Whether Envoy runs."""
        return self._process.alive and bool(self._status()["running"])

    @property
    def log(self) -> str:
        """What Envoy has said: warnings and worse."""
        return str(self._status()["log"])

    def ending(self) -> str:
        """How it ended: ``killed by signal 9``; empty while it runs."""
        code = self._status()["code"]
        return "" if code is None else f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    # ---- what it reports

    def admin(self, path: str) -> str:
        """Ask its admin port, which only the pod itself can reach; `OSError` if nobody answers there."""
        reply = self._process.request("connect", address="127.0.0.1", port=ADMIN_PORT)
        if reply["connect_errno"]:
            raise OSError(reply["connect_errno"], f"the Envoy of pod {self._process.name!r} does not run")
        client = http.client.HTTPConnection("127.0.0.1", ADMIN_PORT)
        with reply.socket() as client.sock:
            client.request("GET", path, headers={"connection": "close"})
            return client.getresponse().read().decode()

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges by name, those that match a regular expression."""
        found = json.loads(self.admin(f"/stats?format=json&filter={pattern}"))["stats"]
        return {each["name"]: each["value"] for each in found if isinstance(each.get("value"), int)}

    def counters(self) -> Counters:
        """What came to it so far."""
        stats = self.stats(r"^(http|listener)\..*downstream_(cx|rq)_total$")
        came = {found[1]: value for name, value in stats.items() if (found := _LISTENER.fullmatch(name))}
        from_the_pod = came.pop(str(OUTBOUND_PORT), 0)
        requests = [stats.get(f"http.{prefix}.downstream_rq_total", 0) for prefix in ("outbound", "inbound")]
        return Counters(from_the_pod, requests[0], sum(came.values()), requests[1])

    def endpoints(self) -> list[EnvoyEndpoint]:
        """The endpoints that it chooses from, as it reports them itself."""
        found = []
        for cluster in json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]:
            service = service_of(cluster["name"])
            if service is None:
                continue
            for host in cluster.get("host_statuses", ()):
                where = host["address"]["socket_address"]
                stats = {each["name"]: int(each.get("value", 0)) for each in host["stats"]}
                found.append(
                    EnvoyEndpoint(
                        *service,
                        where["address"],
                        where["port_value"],
                        host.get("priority", 0),
                        stats["cx_total"],
                        stats["rq_total"],
                    )
                )
        return sorted(found, key=lambda each: (each.hostname, each.port, each.priority, each.address))

    def memory(self) -> Memory:
        """What its process takes now."""
        return memory_of(self.pid)

    # ---- inside

    def _status(self) -> Mapping[str, Any]:
        return self._process.request("envoy_status").values

    def _judge(self, accepted: Mapping[str, bool | None]) -> None:
        if False in accepted.values():
            raise self._problem("refused its configuration")
        if None in accepted.values():
            raise self._problem("has ended" if not self.alive else f"took over no configuration in {_PATIENCE:.0f} s")

    def _problem(self, what: str) -> LabError:
        entries = [" ".join(entry.split()) for entry in _ENTRY.split(self.log)]
        worst = [entry for kind in _PROBLEMS for entry in entries if kind in entry] or entries
        said = _PREFIX.sub("", worst[-1]) or "nothing"
        if len(said) > _LONGEST:  # Envoy prints the whole resource, and then what is wrong with it
            said = f"{said[: _LONGEST // 4]} … {said[-_LONGEST:]}"
        ending = self.ending()
        how = f" ({ending})" if ending else ""
        return LabError(f"the Envoy of pod {self._process.name!r} {what}{how}. It said: {said}")


def _texts(config: Config) -> dict[str, str]:
    return {kind: json.dumps(resources, separators=(",", ":")) for kind, resources in config.items()}
