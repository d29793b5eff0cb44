"""From services to what Envoy wants to know: clusters and listeners of its v3 API, as plain values.

The same publications from which a node's maps are made. Where the kernel looks up

    km_frontend → km_service → km_endpoint → km_backend

Envoy has a filter chain for each VIP and port, a cluster for each service and port, and in that the endpoints by
priority. A service keeps its row of the maps; here it has one entry in every proxy.

Istio routes HTTP by the Host header, with one listener per port; the chains here go by the VIP, as the maps do.
Field names and rules: Envoy's API, envoy/config/{cluster,listener}/v3. Names of clusters: Istio's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kmesh_lab.datapath.plan import Publication, endpoint_priority
from kmesh_lab.mesh import IPAddress, Place, Policy, Service, Workload, stored_ports
from kmesh_lab.traffic.redirect import INBOUND_PORT, INBOUND_SOURCE, OUTBOUND_PORT
from kmesh_lab.traffic.xds import ADDRESS

__all__ = [
    "ADMIN_PORT",
    "TRUST_DOMAIN",
    "Certificate",
    "Config",
    "Mode",
    "View",
    "bootstrap",
    "by_priority",
    "cluster_name",
    "gateway",
    "service_of",
    "sidecar",
    "waypoint",
]

ADMIN_PORT = 15000

Mode = Literal["http", "tcp"]
Value = dict[str, Any]
Config = dict[str, list[Value]]
"""``clusters`` and ``listeners``, in this order."""

_API = "type.googleapis.com/envoy."
_ANY = {4: "0.0.0.0", 6: "::"}
_NO_LIMIT = 1_000_000  # of connections, requests and retries; Envoy's is 1024, which a benchmark would meet
_PASSTHROUGH, _INBOUND = "PassthroughCluster", "InboundPassthroughCluster"
_CERTIFICATE, _TRUST = "certificate", "trust"  # secrets of the bootstrap
_MTLS = {"tlsMode": "istio"}  # the mark of endpoints that talk mutual TLS
_CONNECT_TIMEOUT = "5s"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"  # unset, each Envoy warns of it


TRUST_DOMAIN = "spiffe://cluster.local/"


@dataclass(frozen=True)
class Certificate:
    """A chain, its key and the authority to trust, in PEM."""

    chain: str
    key: str = field(repr=False)
    authority: str


@dataclass(frozen=True)
class View:
    """What one proxy knows: all services, the place from which it looks at them, and who talks mutual TLS."""

    publications: Sequence[Publication]
    place: Place | None
    family: int = 4
    mtls: Collection[IPAddress] = ()
    certified: bool = False  # this proxy has a certificate itself

    def routes(self) -> Iterable[tuple[Publication, int, int]]:
        """Each publication of the proxy's family with each of its ports and target ports."""
        for publication in self.publications:
            if publication.service.vips[0].version == self.family:
                for port, target in stored_ports(publication.service).items():
                    yield publication, port, target


# ---- the three proxies


def sidecar(view: View, mode: Mode) -> Config:
    """Outbound: a chain for each service, all else passed through. Inbound: on to the pod itself."""
    inbound = _http("inbound", [_route("/", _INBOUND)]) if mode == "http" else _tcp("inbound", _INBOUND)
    chain: Value = {"filters": [inbound]}
    if view.certified:
        chain["transport_socket"] = _tls("Downstream", require_client_certificate=True)
    source = {"address": INBOUND_SOURCE[view.family], "port_value": 0}
    return {
        "clusters": [
            *_clusters(view),
            _original_dst(_PASSTHROUGH),
            _original_dst(_INBOUND, upstream_bind_config={"source_address": source}),
        ],
        "listeners": [
            _listener("outbound", view.family, OUTBOUND_PORT, _chains(view, mode, "outbound"), passthrough=True),
            _listener("inbound", view.family, INBOUND_PORT, [chain]),
        ],
    }


def waypoint(view: View, port: int) -> Config:
    """The same chains behind a PROXY header that says where the client wanted to go; who sends none is refused."""
    chains = _chains(view, "http", "inbound")
    listener = _listener("waypoint", view.family, port, chains)
    listener["listener_filters"] = [_filter("proxy_protocol", "filters.listener.proxy_protocol.v3.ProxyProtocol")]
    return {"clusters": list(_clusters(view)), "listeners": [listener] if chains else []}  # Envoy takes no empty one


def gateway(view: View, port: int, routes: Mapping[str, Service]) -> Config:
    """Path prefixes, the longest first, to the first port of their services."""
    published = {publication.service.key: publication.service for publication in view.publications}
    entries = [
        _route(prefix, cluster_name(service, next(iter(service.ports))))
        for prefix in sorted(routes, key=len, reverse=True)
        for service in [published.get(routes[prefix].key)]
        if service
    ]
    listener = _listener("gateway", view.family, port, [{"filters": [_http("inbound", entries)]}])
    del listener["listener_filters"]
    return {"clusters": list(_clusters(view)), "listeners": [listener]}


def bootstrap(name: str, certificate: Certificate | None) -> Value:
    """How Envoy starts: who it is, its admin port (inside the pod only) and where it asks for the rest."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": ADDRESS}}}}
    assignment = {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]}
    xds = {"name": "xds", "type": "STATIC", "connect_timeout": _CONNECT_TIMEOUT, "load_assignment": assignment}
    source = {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["xds"],
            "refresh_delay": "0.001s",  # between an answer and the next question, which then stays open
            "request_timeout": "86400s",
        },
    }
    kind = "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    most = {"@type": f"{_API}extensions.{kind}", "max_active_downstream_connections": _NO_LIMIT}
    secrets = []
    if certificate:
        chain, key = {"inline_string": certificate.chain}, {"inline_string": certificate.key}
        secrets.append({"name": _CERTIFICATE, "tls_certificate": {"certificate_chain": chain, "private_key": key}})
        names = {"san_type": "URI", "matcher": {"prefix": TRUST_DOMAIN}}
        trusted = {"trusted_ca": {"inline_string": certificate.authority}, "match_typed_subject_alt_names": [names]}
        secrets.append({"name": _TRUST, "validation_context": trusted})
    return {
        "node": {"id": name, "cluster": name},
        "admin": {"address": _socket("127.0.0.1", ADMIN_PORT)},
        "dynamic_resources": {"cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [xds], "secrets": secrets},
        "overload_manager": {"resource_monitors": [{"name": _CONNECTIONS, "typed_config": most}]},
    }


# ---- clusters


def cluster_name(service: Service, port: int) -> str:
    """Istio's name for a service and one of its ports, seen by a client."""
    return f"outbound|{port}||{service.hostname}"


def service_of(cluster: str) -> tuple[str, int] | None:
    """Hostname and port of a name that `cluster_name` made."""
    direction, _, rest = cluster.partition("|")
    port, _, hostname = rest.partition("||")
    return (hostname, int(port)) if direction == "outbound" else None


def by_priority(publication: Publication, place: Place | None) -> list[list[Workload]]:
    """The endpoints in Envoy's order: what the kernel would try first is at index 0.

    The kernel counts priorities by scopes and skips empty ones, Envoy wants them without gaps. STRICT has priority 0
    only. Envoy leaves a priority when too few of its endpoints are healthy, the kernel only when none is left; as
    unhealthy ones are not told to either, both do the same.
    """
    found: dict[int, list[Workload]] = {}
    for workload in publication.endpoints:
        if workload.healthy:
            found.setdefault(endpoint_priority(publication.service, workload, place), []).append(workload)
    strict = publication.service.load_balancing.policy is Policy.STRICT
    return [found[number] for number in sorted(found) if number == 0 or not strict]


def _clusters(view: View) -> Iterable[Value]:
    for publication, port, target in view.routes():
        name = cluster_name(publication.service, port)
        groups = enumerate(by_priority(publication, view.place))
        endpoints = [
            {
                "priority": priority,
                "locality": {"region": where.region, "zone": where.zone, "sub_zone": where.subzone},
                "lb_endpoints": [_endpoint(view, each, target) for each in workloads if each.locality == where],
            }
            for priority, workloads in groups
            for where in dict.fromkeys(each.locality for each in workloads)
        ]
        cluster = _cluster(name, type="STATIC", lb_policy="RANDOM")
        cluster["load_assignment"] = {"cluster_name": name, "endpoints": endpoints}
        if view.certified:
            plain = _filter("raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer")
            mutual = {"name": "mtls", "match": _MTLS, "transport_socket": _tls("Upstream")}
            cluster["transport_socket_matches"] = [mutual, {"name": "plain", "transport_socket": plain}]
        yield cluster


def _endpoint(view: View, workload: Workload, port: int) -> Value:
    value: Value = {"endpoint": {"address": _socket(str(workload.address), port)}}
    if workload.address in view.mtls:
        value["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": _MTLS}}
    return value


def _original_dst(name: str, **fields: Value) -> Value:
    return _cluster(name, type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", **fields)


def _cluster(name: str, **fields: Any) -> Value:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _NO_LIMIT)
    breakers = {"thresholds": [limits]}
    head = {"@type": f"{_API}config.cluster.v3.Cluster", "name": name, "connect_timeout": _CONNECT_TIMEOUT}
    return {**head, "circuit_breakers": breakers, **fields}


# ---- listeners


def _listener(name: str, family: int, port: int, chains: list[Value], *, passthrough: bool = False) -> Value:
    listener: Value = {
        "@type": f"{_API}config.listener.v3.Listener",
        "name": name,
        "address": _socket(_ANY[family], port),
        "listener_filters": [_filter("original_dst", "filters.listener.original_dst.v3.OriginalDst")],
        "filter_chains": chains,
    }
    if passthrough:
        listener["default_filter_chain"] = {"filters": [_tcp("passthrough", _PASSTHROUGH)]}
    return listener


def _chains(view: View, mode: Mode, prefix: str) -> list[Value]:
    """A chain for each service and port: the connection's original destination decides."""
    chains = []
    for publication, port, _ in view.routes():
        cluster = cluster_name(publication.service, port)
        ranges = [{"address_prefix": str(vip), "prefix_len": vip.max_prefixlen} for vip in publication.service.vips]
        proxy = _http(prefix, [_route("/", cluster)]) if mode == "http" else _tcp(prefix, cluster)
        match = {"prefix_ranges": ranges, "destination_port": port}
        chains.append({"name": cluster, "filter_chain_match": match, "filters": [proxy]})
    return chains


def _http(prefix: str, routes: list[Value]) -> Value:
    host = {"name": "all", "domains": ["*"], "routes": routes}
    return _filter(
        "http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=prefix,
        route_config={"validate_clusters": False, "virtual_hosts": [host]},
        http_filters=[_filter("router", "filters.http.router.v3.Router")],
    )


def _route(prefix: str, cluster: str) -> Value:
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s"}}


def _tcp(prefix: str, cluster: str) -> Value:
    return _filter("tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=prefix, cluster=cluster)


def _tls(side: Literal["Upstream", "Downstream"], **fields: Any) -> Value:
    versions = dict.fromkeys(("tls_minimum_protocol_version", "tls_maximum_protocol_version"), "TLSv1_3")
    common = {
        "tls_params": versions,
        "tls_certificate_sds_secret_configs": [{"name": _CERTIFICATE}],
        "validation_context_sds_secret_config": {"name": _TRUST},
    }
    return _filter("tls", f"transport_sockets.tls.v3.{side}TlsContext", common_tls_context=common, **fields)


def _filter(name: str, kind: str, **config: Any) -> Value:
    return {"name": name, "typed_config": {"@type": f"{_API}extensions.{kind}", **config}}


def _socket(address: str, port: int) -> Value:
    return {"socket_address": {"address": address, "port_value": port}}
