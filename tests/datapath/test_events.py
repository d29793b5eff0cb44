"""Records of the ring buffers, from bytes and from real connections."""

from ipaddress import ip_address

import pytest

import kmesh_lab as km
from kmesh_lab.datapath.events import AuthRequest, Events, RecordParser
from kmesh_lab.kernel.compiler import BPF_DIR, compile_c

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def parser():
    image = compile_c(BPF_DIR / "kmesh.c", {})
    return RecordParser(image.maps["km_tcp_probe"].value, image.maps["km_auth_req"].value)


def record(type, tuple, original, state, direction, stale=b"\xee"):
    """A record of km_tcp_probe as it lies in the ring: what is not written keeps old bytes."""
    parts = [
        (0, bytes.fromhex(type)),
        (4, bytes.fromhex(tuple)),
        (40, bytes.fromhex(original)),
        (60, bytes.fromhex("110000002a00000001000000")),  # sent, received, success
        (72, bytes.fromhex(direction + state)),
        (80, (7_000_000).to_bytes(8, "little")),  # duration
        (88, (1_000_000_000).to_bytes(8, "little")),  # start
        (96, (1_007_000_000).to_bytes(8, "little")),  # last report
        (108, bytes.fromhex("90010000320000000300000002000000")),  # srtt 400, rtt_min, retransmitted, lost
    ]
    data = bytearray(stale * 128)
    for at, value in parts:
        data[at : at + len(value)] = value
    return bytes(data)


def test_an_ipv4_record_is_read_byte_for_byte(parser):
    """10.9.0.1:40271 wanted 10.96.0.10:80 and was connected to 10.9.0.3:15019; ports in the order of the CPU."""
    event = parser.event(record("00000000", "0a0900010a0900034f9dab3a", "0a60000a5000", "01000000", "02000000"))

    assert event.source == (ip_address("10.9.0.1"), 40271)
    assert event.destination == (ip_address("10.9.0.3"), 15019)
    assert event.original == (ip_address("10.96.0.10"), 80)
    assert (event.state, event.direction, event.success) == ("ESTABLISHED", "OUTBOUND", True)
    assert (event.sent_bytes, event.received_bytes) == (17, 42)
    assert (event.duration_ns, event.start_ns, event.last_report_ns) == (7_000_000, 1_000_000_000, 1_007_000_000)
    assert (event.rtt_us, event.rtt_min_us, event.retransmitted, event.lost) == (50.0, 50, 3, 2)
    assert repr(event) == "<Event ESTABLISHED OUTBOUND 10.9.0.1:40271 → 10.9.0.3:15019 sent 17 received 42>"


def test_an_ipv6_record_has_its_ports_behind_the_addresses(parser):
    client, server = "fd000010024400010000000000000001", "fd000010024400010000000000000002"
    original = "fd000096000000000000000000000010"

    event = parser.event(record("01000000", client + server + "0100901f", original + "5000", "07000000", "02000000"))

    assert event.source == (ip_address("fd00:10:244:1::1"), 1)
    assert event.destination == (ip_address("fd00:10:244:1::2"), 8080)
    assert event.original == (ip_address("fd00:96::10"), 80)
    assert event.state == "CLOSE"


def test_the_accepting_side_does_not_know_the_original_destination(parser):
    event = parser.event(record("00000000", "0a0900010a0900034f9dab3a", 20 * "00", "01000000", "01000000"))

    assert (event.original, event.direction) == (None, "INBOUND")


@pytest.mark.parametrize(
    ("state", "duration", "kind"),
    [
        ("01000000", 5_000_000_000, "established"),
        ("01000000", 5_000_000_001, "periodic"),
        ("07000000", 7_000_000_000, "closed"),
        ("09000000", 1, "9"),
    ],
)
def test_a_record_of_a_connection_older_than_five_seconds_is_a_periodic_one(parser, state, duration, kind):
    data = bytearray(record("00000000", "0a0900010a0900034f9dab3a", "0a60000a5000", state, "02000000"))
    data[80:88] = duration.to_bytes(8, "little")

    assert parser.event(bytes(data)).kind == kind


def test_numbers_that_nobody_knows_are_shown_as_numbers(parser):
    event = parser.event(record("00000000", "0a0900010a0900034f9dab3a", 20 * "00", "09000000", "05000000"))

    assert (event.state, event.direction) == ("9", "5")


def test_a_request_for_authorisation_goes_from_client_to_server(parser):
    ipv4 = bytes.fromhex("000000000a0900010a0900034f9dab3a").ljust(40, b"\0")
    ipv6 = bytes.fromhex("01000000" + 14 * "00" + "0001" + 14 * "00" + "0002" + "4f9dab3a")

    assert parser.auth_request(ipv4) == AuthRequest((ip_address("10.9.0.1"), 40271), (ip_address("10.9.0.3"), 15019))
    assert parser.auth_request(ipv6) == AuthRequest((ip_address("::1"), 40271), (ip_address("::2"), 15019))


def test_events_are_a_sequence_that_shows_itself(parser):
    event = parser.event(record("00000000", "0a0900010a0900034f9dab3a", "0a60000a5000", "01000000", "02000000"))
    events = Events(lambda address: "shop" if str(address[0]) == "10.9.0.1" else "")

    events.extend([event], lost=3)

    assert (len(events), events[0], list(events), events.lost) == (1, event, [event], 3)
    assert repr(events) == "<Events: 1 records, 3 lost>"
    cells = ("OUTBOUND", "ESTABLISHED", "shop", "10.9.0.3:15019", "10.96.0.10:80", "17", "42")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in events._repr_html_()


@pytest.fixture
def lab():
    with km.Lab() as lab:
        node = lab.node("n1")
        lab.shop, lab.pod_a = lab.pod("shop", node), lab.pod("a", node, listen=8080)
        lab.datapath = node.datapath
        yield lab


def test_one_connection_is_four_records(lab):
    lab.datapath.events()

    connection = lab.shop.connect(lab.pod_a, 8080)
    local = connection.socket.getsockname()[1]
    connection.get("/")
    connection.close()
    events = []
    while len(events) < 4 and (came := lab.datapath.events(wait_ms=1000)):
        events += came

    assert sorted((event.direction, event.state) for event in events) == [
        ("INBOUND", "CLOSE"),
        ("INBOUND", "ESTABLISHED"),
        ("OUTBOUND", "CLOSE"),
        ("OUTBOUND", "ESTABLISHED"),
    ]
    for event in events:
        assert event.source == (lab.shop.address, local)
        assert event.destination == (lab.pod_a.address, 8080)
        assert event.success
        assert event.last_report_ns - event.start_ns == event.duration_ns
    outbound = [event for event in events if event.direction == "OUTBOUND"]
    assert {event.original for event in outbound} == {(lab.pod_a.address, 8080)}


def test_without_monitoring_there_are_no_records(lab):
    lab.datapath.events()
    lab.datapath.configure(monitoring=False)

    lab.shop.connect(lab.pod_a, 8080).close()
    quiet = lab.datapath.events(wait_ms=100)
    lab.datapath.configure()
    lab.shop.connect(lab.pod_a, 8080).close()

    assert quiet == []
    assert lab.datapath.events(wait_ms=1000) != []


def test_every_accepted_connection_asks_for_authorisation_until_the_ring_is_full(lab):
    lab.datapath.auth_requests()

    lab.shop.connect_many(lab.pod_a, 8080, count=100)
    requests, lost = lab.datapath.auth_requests(), lab.datapath.lost().auth_req
    lab.shop.connect_many(lab.pod_a, 8080, count=1)

    assert len(requests) == 85  # a record of 40 bytes takes 48 of the 4095
    assert {(each.source[0], each.destination) for each in requests} == {(lab.shop.address, (lab.pod_a.address, 8080))}
    assert lost == 100 - 85
    assert len(lab.datapath.auth_requests()) == 1


def test_records_that_nobody_reads_are_lost_and_counted(lab):
    before = lab.datapath.lost().tcp_probe

    lab.shop.connect_many(lab.pod_a, 8080, count=600)  # 4 records each; 1927 fit

    kept = lab.datapath.events()
    assert len(kept) == 1927
    assert lab.datapath.lost().tcp_probe - before > 2400 - 1927 - 8  # closes that are still on their way
