"""From services to Envoy's clusters and listeners, without an Envoy."""

import json

import pytest

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.mesh import LoadBalancing, Locality, Place, Service, Workload
from kmesh_lab.traffic.envoy_config import (
    View,
    bootstrap,
    by_priority,
    cluster_name,
    gateway,
    service_of,
    sidecar,
    waypoint,
)

SCOPES = ["REGION", "ZONE", "SUBZONE"]
HERE = Place(Locality.parse("cn-west/xian/a"), "n1")
NEAR = Workload("near", "10.244.1.1", "n1", "cn-west/xian/a")
BESIDE = Workload("beside", "10.244.2.1", "n2", "cn-west/xian/b")
FAR = Workload("far", "10.244.3.1", "n3", "cn-east/hangzhou/a")
SICK = Workload("sick", "10.244.1.9", "n1", "cn-west/xian/a", healthy=False)


def published(policy="FAILOVER", endpoints=(FAR, BESIDE, NEAR, SICK), **more):
    fields = {"vip": "10.96.0.10", "ports": {80: 8080}, "load_balancing": LoadBalancing(policy, SCOPES)} | more
    return Publication(Service("inventory.shop", **fields), tuple(endpoints))


def names(groups):
    return [[workload.name for workload in group] for group in groups]


@pytest.mark.parametrize(
    ("policy", "place", "expected"),
    [
        ("FAILOVER", HERE, [["near"], ["beside"], ["far"]]),
        ("FAILOVER", None, [["far", "beside", "near"]]),
        ("STRICT", HERE, [["near"]]),
        ("STRICT", Place(Locality.parse("cn-south"), "n9"), []),
        ("RANDOM", HERE, [["far", "beside", "near"]]),
    ],
)
def test_envoy_gets_the_healthy_endpoints_in_the_kernels_order_without_gaps(policy, place, expected):
    assert names(by_priority(published(policy), place)) == expected


def test_priorities_without_endpoints_are_closed_up():
    assert names(by_priority(published(endpoints=[FAR, NEAR]), HERE)) == [["near"], ["far"]]


def test_a_cluster_has_its_endpoints_by_priority_and_locality():
    two = Workload("near-too", "10.244.1.3", "n1", "cn-west/xian/a")
    (cluster, *_) = sidecar(View([published(endpoints=[NEAR, two, FAR])], HERE), "http")["clusters"]

    assert cluster["name"] == "outbound|80||inventory.shop.svc.cluster.local"
    groups = cluster["load_assignment"]["endpoints"]
    assert [(group["priority"], group["locality"]["zone"], len(group["lb_endpoints"])) for group in groups] == [
        (0, "xian", 2),
        (1, "hangzhou", 1),
    ]
    assert groups[0]["lb_endpoints"][1]["endpoint"]["address"] == {
        "socket_address": {"address": "10.244.1.3", "port_value": 8080}
    }


def test_the_vip_and_port_choose_the_chain_and_other_families_are_left_out():
    many = published(vip=["10.96.0.10", "10.96.0.11"], ports={80: 8080, 81: 8081})
    six = published(endpoints=[], vip="fd00:10:96::10")
    listeners = sidecar(View([many, six], HERE), "tcp")["listeners"]

    chains = listeners[0]["filter_chains"]
    assert [chain["filter_chain_match"]["destination_port"] for chain in chains] == [80, 81]
    ranges = chains[0]["filter_chain_match"]["prefix_ranges"]
    assert ranges == [{"address_prefix": f"10.96.0.1{last}", "prefix_len": 32} for last in (0, 1)]
    (chain,) = sidecar(View([many, six], HERE, family=6), "tcp")["listeners"][0]["filter_chains"]
    assert chain["filter_chain_match"]["prefix_ranges"] == [{"address_prefix": "fd00:10:96::10", "prefix_len": 128}]


def test_only_a_proxy_with_a_certificate_talks_tls_and_only_to_those_who_do():
    view = View([published()], HERE, mtls={NEAR.address}, certified=True)
    config = sidecar(view, "http")

    marked = [
        endpoint["endpoint"]["address"]["socket_address"]["address"]
        for group in config["clusters"][0]["load_assignment"]["endpoints"]
        for endpoint in group["lb_endpoints"]
        if "metadata" in endpoint
    ]
    assert marked == ["10.244.1.1"]
    assert [match["name"] for match in config["clusters"][0]["transport_socket_matches"]] == ["mtls", "plain"]
    assert config["listeners"][1]["filter_chains"][0]["transport_socket"]["typed_config"]["require_client_certificate"]
    assert "transport_socket" not in json.dumps(sidecar(View([published()], HERE), "http"))


def test_a_waypoint_without_services_listens_nowhere():
    assert waypoint(View([], HERE), 15019) == {"clusters": [], "listeners": []}


def test_a_gateway_tries_the_longest_path_first_and_leaves_out_what_is_not_published():
    inventory, other = published().service, Service("other", "10.96.0.99", [80])
    (listener,) = gateway(View([published()], HERE), 8080, {"/": inventory, "/stock": inventory, "/x": other})[
        "listeners"
    ]

    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert [route["match"]["prefix"] for route in routes] == ["/stock", "/"]
    assert "listener_filters" not in listener


def test_the_bootstrap_keeps_the_admin_port_on_the_loopback_interface():
    assert bootstrap("shop", None)["admin"]["address"]["socket_address"] == {
        "address": "127.0.0.1",
        "port_value": 15000,
    }


def test_the_name_of_a_cluster_leads_back_to_the_service():
    service = published().service

    assert service_of(cluster_name(service, 80)) == (service.hostname, 80)
    assert service_of("PassthroughCluster") is None
