"""A sidecar: the Envoy of one pod, through which its traffic goes, as in Istio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.display import html_table, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab.addresses import check_choice
from kmesh_lab.mesh import IPAddress, Service
from kmesh_lab.traffic.envoy import Counters, Envoy, EnvoyEndpoint, Memory
from kmesh_lab.traffic.envoy_config import ADMIN_PORT, Mode, View, sidecar
from kmesh_lab.traffic.redirect import INBOUND_PORT, OUTBOUND_PORT

if TYPE_CHECKING:
    from kmesh_lab.lab.pod import Pod

__all__ = ["PORTS", "Proxy", "Sidecar", "check_sidecar", "view_of"]

PORTS = (ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT)
"""What Envoy listens on, so that the pod cannot."""


class Proxy:
    """An Envoy in a pod, whatever it is there for: what it did and what it takes."""

    def __init__(self, pod: Pod, *, mtls: bool = False) -> None:
        self.pod, self.mtls = pod, mtls
        certificate = pod.lab.authority.issue(pod.workload.namespace, pod.name) if mtls else None
        self.envoy = Envoy(pod.process, certificate)

    @property
    def pid(self) -> int:
        """Envoy's process."""
        return self.envoy.pid

    @property
    def alive(self) -> bool:
        """False when Envoy has ended."""
        return self.envoy.alive

    @property
    def counters(self) -> Counters:
        """Connections and requests that came to this Envoy, from its own pod (outbound) and from others (inbound)."""
        return self.envoy.counters()

    @property
    def memory(self) -> Memory:
        """Bytes of memory that Envoy takes: ``rss``, ``pss``, ``private``."""
        return self.envoy.memory()

    @property
    def log(self) -> str:
        """What Envoy has said, warnings and worse."""
        return self.envoy.log

    def admin(self, path: str = "/help") -> str:
        """What Envoy's admin port answers, for example to ``/config_dump`` or ``/stats``; only the pod can reach it."""
        return self.envoy.admin(path)

    def endpoints(self, service: Service | None = None) -> list[EnvoyEndpoint]:
        """The endpoints that Envoy chooses from, with their priorities and what it has sent there; of one service."""
        found = self.envoy.endpoints()
        return [each for each in found if service is None or each.hostname == service.hostname]

    def restart(self) -> None:
        """Start Envoy again after it has ended, as a kubelet would."""
        self.envoy.restart()


class Sidecar(Proxy):
    """The Envoy of a pod; ``lab.pod(..., sidecar=True)`` makes one, `Pod.sidecar` is it.

    ``mode`` is "http" or "tcp"; ``mtls`` says that it demands and gives certificates.
    """

    def __init__(self, pod: Pod, mode: Mode, *, mtls: bool) -> None:
        super().__init__(pod, mtls=mtls)
        self.mode = mode

    def start(self, publications: Sequence[Publication]) -> None:
        """Start Envoy, and lead the pod's traffic through it."""
        self.envoy.start(sidecar(view_of(self.pod, publications, self.mtls), self.mode))
        try:
            self.pod.process.request("redirect", family=self.pod.address.version)
        except OSError as error:
            raise LabError(f"{error.strerror}; `kmesh-lab check` says what sidecars need") from None

    def learn(self, publications: Sequence[Publication]) -> None:
        """Take over what is published."""
        self.envoy.configure(sidecar(view_of(self.pod, publications, self.mtls), self.mode))

    def __repr__(self) -> str:
        ending = self.envoy.ending() if self.pod.alive else ""
        state = "running" if self.alive else f"ended ({ending})" if ending else "ended"
        return one_line(f"<Sidecar of {self.pod.name}: Envoy, {self.mode}{', mTLS' if self.mtls else ''}, {state}>")

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("mode", self.mode),
            ("mutual TLS", "yes" if self.mtls else "no"),
            ("process", "running" if self.alive else "ended"),
        ]
        if self.alive:
            rows += [(name.replace("_", " "), value) for name, value in self.counters._asdict().items()]
        return html_table(f"Sidecar of {self.pod.name}", rows)


def view_of(pod: Pod, publications: Sequence[Publication], certified: bool) -> View:
    """What the proxy of a pod knows."""
    mtls: set[IPAddress] = {each.address for each in list(pod.lab.pods.values()) if each.sidecar and each.sidecar.mtls}
    return View(publications, pod.node.publisher.place, pod.address.version, mtls, certified)


def check_sidecar(name: str, sidecar: bool | str, mtls: bool, listen: int | None) -> Mode | None:
    """Return the mode, None for no sidecar; ``ValueError`` on what cannot be meant."""
    if sidecar is False:
        if mtls:
            raise ValueError(f"pod {name!r}: mtls needs a proxy that speaks it: give it a sidecar, too")
        return None
    mode = "http" if sidecar is True else sidecar
    check_choice(f"sidecar of pod {name!r}", mode, ("http", "tcp"))
    if listen in PORTS:
        raise ValueError(f"pod {name!r} cannot listen on port {listen}: its sidecar does; {_ports()} are Envoy's")
    return "http" if mode == "http" else "tcp"


def _ports() -> str:
    return ", ".join(map(str, PORTS))
