"""What the programs reported about one connection, folded into a decision."""

import socket
from ipaddress import ip_address

import pytest
from IPython.lib.pretty import pretty

import kmesh_lab as km
from kmesh_lab.datapath.decision import Decision, Location, Step, step_address
from kmesh_lab.kernel.program import BPF_DIR

pytestmark = pytest.mark.root

POD = (ip_address("10.244.1.2"), 8080)
NAMES = {7: "web.shop", 8: "a"}


def step(kind, **fields):
    values = {"time_ns": 0, "cookie": 1, "ret": 0, "id": 0, "found": 0, "prio": 0, "index": 0}
    values |= {"address": None, "location": None, "name": lambda number: NAMES.get(number, f"unknown id {number}")}
    return Step(kind=kind, **{**values, **fields})


# ---- steps, made by hand


@pytest.mark.parametrize(
    ("family", "words", "port", "expected"),
    [
        (0, (1, 2, 3, 4), 5, None),
        (socket.AF_INET, (0x0A00600A, 9, 9, 9), 0x5000, ("10.96.0.10", 80)),
        (socket.AF_INET, (0x0A00600A, 0, 0, 0), 0xABCD5000, ("10.96.0.10", 80)),
        (socket.AF_INET6, (0x000000FD, 0, 0, 0x01000000), 0x901F, ("fd00::1", 8080)),
        (socket.AF_INET6, (0, 0, 0xFFFF0000, 0x0A00600A), 0x5000, ("::ffff:10.96.0.10", 80)),
    ],
)
def test_the_address_of_a_step_is_in_network_order(family, words, port, expected):
    assert step_address(family, words, port) == (expected and (ip_address(expected[0]), expected[1]))


@pytest.mark.parametrize(
    ("made", "row", "story"),
    [
        (step("CONNECT", address=POD), "", "connect(2) to 10.244.1.2:8080"),
        (step("NOT_MANAGED"), "km_manage[network namespace]", "the pod is not in the mesh: the destination stays"),
        (step("CONTROL", found=1), "", "the network namespace joins the mesh"),
        (step("CONTROL", id=1, found=1, ret=-7), "", "the address cannot join the mesh: E2BIG"),
        (step("CONTROL", id=1), "", "the address leaves the mesh"),
        (step("NOT_TCP", id=17), "", "protocol 17 is not TCP: the destination stays"),
        (step("DNS", ret=-2), "", "no DNS proxy: the destination stays"),
        (step("DNS", address=POD), "", "a DNS query: goes to the proxy 10.244.1.2:8080"),
        (step("FRONTEND", found=7), "km_frontend[destination]", "leads to web.shop"),
        (step("FRONTEND", ret=-2), "km_frontend[destination]", "no row: an address outside the mesh"),
        (step("SERVICE", id=7, found=2), "km_service[7]", "web.shop, policy FAILOVER"),
        (step("SERVICE", id=7, found=3), "km_service[7]", "web.shop, policy 3"),
        (step("SERVICE", id=8, ret=-2), "km_service[8]", "a is no service"),
        (step("ENDPOINT", id=7, prio=1, index=2, found=8), "km_endpoint[7, 1, 2]", "priority 1, index 2: a"),
        (step("ENDPOINT", id=7, prio=1, index=2, ret=-2), "km_endpoint[7, 1, 2]", "priority 1, index 2: no row"),
        (step("BACKEND", id=8), "km_backend[8]", "a"),
        (step("BACKEND", id=8, address=POD), "km_backend[8]", "a, behind waypoint 10.244.1.2:8080"),
        (step("BACKEND", id=8, ret=-2), "km_backend[8]", "no row: this workload is unknown"),
        (step("WAYPOINT", address=POD), "", "goes to the waypoint 10.244.1.2:8080"),
        (step("DNAT", address=POD), "", "service port becomes 10.244.1.2:8080"),
        (step("DNAT", ret=-2), "", "the service has no such port"),
        (step("VERDICT", address=POD), "", "connect(2) goes on to 10.244.1.2:8080"),
        (
            step("VERDICT", address=POD, ret=-22),
            "",
            "connect(2) goes on to 10.244.1.2:8080, because a manager returned -EINVAL",
        ),
        (step("TAIL_CALL"), "", "the program starts again, with the waypoint as destination"),
        (step("ESTABLISHED", found=2), "", "connected"),
        (step("ESTABLISHED", found=1), "", "accepted"),
        (step("SOCKHASH"), "", "put into km_socket"),
        (step("SOCKHASH", ret=-7), "", "not put into km_socket: E2BIG"),
        (step("TLV", id=16, address=POD), "", "16 bytes in front of the payload: 10.244.1.2:8080"),
        (step("TLV", ret=-2), "", "the TLV could not be pushed"),
        (step("CLOSED"), "", "closed"),
        (step("STEP_99"), "", "STEP_99"),
    ],
)
def test_a_step_says_what_it_read_and_what_happened(made, row, story):
    assert (made.map_row, made.story) == (row, story)


VIP = (ip_address("10.96.0.10"), 80)
WAYPOINT = (ip_address("10.96.255.1"), 15008)


def test_a_decision_goes_from_the_first_destination_to_the_last():
    decision = Decision(
        (
            step("CONNECT", address=VIP),
            step("FRONTEND", found=7),
            step("WAYPOINT", address=WAYPOINT),
            step("VERDICT", address=WAYPOINT),
            step("TAIL_CALL"),
            step("CONNECT", address=WAYPOINT),
            step("VERDICT", address=POD),
        )
    )

    assert (decision.original, decision.final, decision.rewritten) == (VIP, POD, True)
    assert repr(decision) == "<Decision 10.96.0.10:80 → 10.244.1.2:8080: frontend → waypoint → tail call>"


def test_a_destination_that_stays_is_not_rewritten():
    decision = Decision((step("CONNECT", address=VIP), step("NOT_MANAGED")))

    assert (decision.original, decision.final, decision.rewritten) == (VIP, VIP, False)


def test_nothing_reported_is_said():
    assert repr(Decision(())) == "<Decision: no program reported a step>"
    assert (Decision(()).original, Decision(()).final, Decision(()).rewritten) == (None, None, False)


def test_a_decision_shows_its_steps_with_the_lines_that_reported_them():
    decision = Decision(
        (
            step("CONNECT", address=VIP, location=Location("cgroup_sock.c", 118, "cgroup_connect4_prog")),
            step("FRONTEND", ret=-2),
        )
    )

    assert pretty(decision).splitlines()[1:] == [
        "   1 " + 26 * " " + "connect(2) to 10.96.0.10:80",
        "   2 km_frontend[destination]  no row: an address outside the mesh",
    ]
    assert "<code>cgroup_sock.c:118 cgroup_connect4_prog()</code>" in decision._repr_html_()
    assert "<code>km_frontend[destination]</code>" in decision._repr_html_()


# ---- steps of real connections


@pytest.fixture(scope="module")
def lab():
    """Two pods that listen, by IPv4 and by IPv6, and one behind a waypoint."""
    with km.Lab() as lab:
        node = lab.node("n1", "cn-west/xian/a")
        lab.shop, lab.shop6 = lab.pod("shop", node), lab.pod("shop6", node, family=6)
        lab.a, lab.six = lab.pod("a", node, listen=8080), lab.pod("six", node, listen=8080, family=6)
        lab.outside = lab.pod("outside", node, enrolled=False)
        lab.inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(lab.inventory, [lab.a])
        lab.apply(km.Service("six.shop", "fd00:96::10", {80: 8080}), [lab.six])
        lab.waypoint_pod = lab.waypoint("waypoint", node)
        behind = km.Service("behind.shop", "10.96.0.11", {80: 8080})
        lab.apply(behind, [lab.a], waypoint=lab.waypoint_pod)
        yield lab


def kinds(decision):
    return [each.kind for each in decision.steps]


ESTABLISHED = ["ESTABLISHED"]
CHAIN = ["CONNECT", "FRONTEND", "SERVICE", "ENDPOINT", "BACKEND", "DNAT", "VERDICT"]
TO_WAYPOINT = ["CONNECT", "FRONTEND", "SERVICE", "WAYPOINT", "VERDICT", "TAIL_CALL"]


def test_a_connect_to_a_service_is_told_from_the_frontend_to_the_pod(lab):
    with lab.shop.connect(lab.inventory, 80) as connection:
        decision = connection.decision
        assert kinds(decision) == CHAIN + ESTABLISHED
        assert {each.cookie for each in decision.steps} == {connection.cookie}
        assert (decision.original, decision.final) == (VIP, connection.peer)
        views = lab.nodes["n1"].maps
        assert [(each.id, each.found) for each in decision.steps[1:4]] == [
            (0, views.id_of(lab.inventory)),
            (views.id_of(lab.inventory), 0),
            (views.id_of(lab.inventory), views.id_of(lab.a)),
        ]
        assert [each.time_ns for each in decision.steps] == sorted(each.time_ns for each in decision.steps)
        assert "inventory.shop" in decision.steps[1].story


def test_an_ipv6_connect_is_told_in_the_same_steps(lab):
    with lab.shop6.connect("fd00:96::10", 80) as connection:
        assert kinds(connection.decision) == CHAIN + ESTABLISHED
        assert connection.decision.original == (ip_address("fd00:96::10"), 80)
        assert connection.decision.final == (lab.six.address, 8080) == connection.peer


def test_a_mapped_connect_ends_at_the_mapped_address(lab):
    with lab.shop.connect("::ffff:10.96.0.10", 80) as connection:
        assert kinds(connection.decision) == CHAIN + ESTABLISHED
        assert connection.decision.original == (ip_address("::ffff:10.96.0.10"), 80)
        assert connection.decision.final == (ip_address(f"::ffff:{lab.a.address}"), 8080)


def test_behind_a_waypoint_the_program_starts_again_and_the_first_bytes_get_the_tlv(lab):
    with lab.shop.connect("10.96.0.11", 80) as connection:
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        decision = connection.decision

    assert kinds(decision) == [*TO_WAYPOINT, *CHAIN, "ESTABLISHED", "SOCKHASH", "TLV"]
    assert decision.original == (ip_address("10.96.0.11"), 80)
    assert decision.final == (lab.waypoint_pod.address, 15019)
    assert decision.steps[-1].story == "16 bytes in front of the payload: 10.96.0.11:80"


def test_closing_is_a_step_too(lab):
    connection = lab.shop.connect(lab.inventory, 80)
    connection.close()

    assert kinds(connection.decision) == [*CHAIN, "ESTABLISHED", "CLOSED"]


def test_a_pod_outside_the_mesh_and_another_protocol_stay_where_they_are(lab):
    for client, protocol, last in ((lab.outside, "tcp", "NOT_MANAGED"), (lab.shop, "udp", "NOT_TCP")):
        with client.connect(lab.a, 8080, protocol=protocol) as connection:
            assert kinds(connection.decision) == ["CONNECT", last]
            assert not connection.decision.rewritten


def test_a_query_without_a_dns_proxy_stays_where_it_is(lab):
    with lab.shop.connect(lab.a, 53, protocol="udp") as connection:
        assert kinds(connection.decision) == ["CONNECT", "DNS"]
        assert connection.decision.final == (lab.a.address, 53)


def test_a_connect_that_fails_has_its_decision_too(lab):
    with pytest.raises(OSError, match=r"10\.96\.0\.10:81") as caught:
        lab.shop.connect(lab.inventory.vips[0], 81)

    decision = caught.value.decision
    assert kinds(decision) == CHAIN
    assert [each.ret for each in decision.steps[-2:]] == [-2, -2]
    assert not decision.rewritten


def test_every_step_of_every_connection_has_its_line(lab):
    decisions = []
    for target in ("10.96.0.10", "10.96.0.11"):
        connection = lab.shop.connect(target, 80)
        connection.get("/")
        connection.close()
        decisions.append(connection.decision)
    decisions.append(lab.outside.connect(lab.a, 8080).decision)
    decisions.append(lab.shop6.connect("fd00:96::10", 80).decision)

    for each in [one for decision in decisions for one in decision.steps]:
        assert each.location is not None, each
        assert f"KL_{each.kind}" in line_of(each.location) or each.kind == "ENDPOINT"


def line_of(location):
    """The statement at a line, which may go on below."""
    lines = (BPF_DIR / location.file).read_text().splitlines()[location.line - 1 :]
    return " ".join(lines[: 1 + next(at for at, line in enumerate(lines) if ";" in line)])


def test_only_the_newest_ten_thousand_sockets_are_remembered(lab, monkeypatch):
    monkeypatch.setattr("kmesh_lab.datapath.datapath._REMEMBERED", 5)
    datapath = lab.nodes["n1"].datapath
    with lab.shop.connect(lab.inventory, 80) as old:
        assert kinds(old.decision) == CHAIN + ESTABLISHED
        lab.shop.connect_many(lab.inventory, 80, count=20)

        assert old.decision.steps == ()
        assert len(datapath._steps) == 5


def test_a_full_trace_loses_the_newest_steps_and_counts_them(lab):
    datapath = lab.nodes["n1"].datapath
    datapath.collect_trace()
    before = datapath.lost().trace

    lab.shop.connect_many(lab.inventory, 80, count=1600)

    assert datapath.lost().trace > before
    datapath.collect_trace()
    with lab.shop.connect(lab.inventory, 80) as connection:
        assert kinds(connection.decision) == CHAIN + ESTABLISHED


def test_the_first_step_says_whose_connect_it_is(lab):
    for pod, target, port in ((lab.shop, lab.inventory, 80), (lab.outside, lab.a, 8080), (lab.shop6, lab.six, 8080)):
        with pod.connect(target, port) as connection:
            first = connection.decision.steps[0]
            assert (first.kind, first.netns) == ("CONNECT", pod.netns_cookie)
            assert {step.netns for step in connection.decision.steps[1:]} == {0}


def test_a_trail_begins_with_what_is_remembered_and_two_take_nothing_from_each_other(lab):
    datapath = lab.nodes["n1"].datapath
    with lab.shop.connect(lab.inventory, 80) as before:
        one, other = datapath.trail(), datapath.trail()
        assert [step.kind for step in one.take() if step.cookie == before.cookie] == CHAIN + ESTABLISHED
    with lab.shop.connect(lab.inventory, 80) as after:
        assert [step.kind for step in one.take() if step.cookie == after.cookie] == CHAIN + ESTABLISHED
    assert [step.kind for step in one.take() if step.cookie == after.cookie] == ["CLOSED"]
    assert one.take() == []
    assert [step.kind for step in other.take() if step.cookie == after.cookie] == [*CHAIN, *ESTABLISHED, "CLOSED"]
