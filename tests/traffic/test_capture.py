"""A capture: what passes the interface of a pod, as Scapy packets."""

import re
import socket
import threading
import time

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6

from kmesh_lab.errors import LabError
from kmesh_lab.traffic import capture as capture_module
from kmesh_lab.traffic.capture import Capture
from kmesh_lab.traffic.tlv import KmeshTLV, KmeshTLVEnd

pytestmark = pytest.mark.root

V4 = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")


@pytest.fixture
def talk(pod, connect):
    """Send pieces to a server of the pod, each answered before the next one, so that each is a segment of its own."""
    pod.request("listen", port=15019)

    def talk_once(*pieces, address="127.0.0.1"):
        with connect(pod, address, 15019) as sock:
            for piece in pieces:
                sock.send(piece)
                sock.recv(1000)

    return talk_once


def came(capture):
    """Each packet on ``lo`` passes twice: as sent and as received."""
    return [packet for packet in capture if packet.direction != socket.PACKET_OUTGOING]


def test_a_connection_is_captured_from_its_first_syn_with_every_payload(pod, talk):
    with Capture(pod, "lo") as capture:
        talk(b"hello", b"and again")

    packets = came(capture)
    assert [str(packet[TCP].flags) for packet in packets[:3]] == ["S", "SA", "A"]
    sent = [bytes(packet[TCP].payload) for packet in packets if packet[TCP].dport == 15019]
    assert [payload for payload in sent if payload] == [b"hello", b"and again"]
    assert capture.payloads[:2] == [b"hello", b"hello"]
    assert [bytes(packet[TCP].payload) for packet in capture.segments] == capture.payloads
    assert capture.closed


def test_the_time_of_a_packet_is_when_it_came_not_when_it_was_read(pod, talk):
    for _ in range(25):
        with Capture(pod, "lo") as capture:
            talk(b"hello")
            came_before = time.time()
            time.sleep(0.002)
            assert all(float(packet.time) <= came_before for packet in capture[:3])


def test_packets_carry_the_kernels_time_and_their_direction(pod, talk):
    with Capture(pod, "lo") as capture:
        talk(b"hello")

    times = [packet.time for packet in capture]
    assert times == sorted(times)
    assert [packet.direction for packet in capture[:2]] == [socket.PACKET_OUTGOING, 0]
    assert {packet.sniffed_on for packet in capture} == {"lo"}


def test_a_tlv_is_dissected_where_a_waypoint_reads_it_and_nothing_else_is_taken_for_one(pod, talk):
    with Capture(pod, "lo") as capture:
        talk(V4 + b"GET", V4[:7], b"GET", b"\x01\x00\x00\x00\x07")

    (whole,) = [packet for packet in came(capture) if KmeshTLV in packet]
    assert whole.summary().endswith("KmeshTLV 10.96.0.10 port 80 / KmeshTLVEnd / Raw")
    assert bytes(whole[KmeshTLV]) == V4 + b"GET"
    assert bytes(whole[KmeshTLVEnd].payload) == b"GET"


def test_ipv6_and_udp_are_captured_too(pod, talk):
    pod.request("listen", port=53, protocol="udp")
    with Capture(pod, "lo") as capture:
        talk(b"hello", address="::1")
        reply = pod.request("connect", address="127.0.0.1", port=53, protocol="udp")
        with reply.socket() as sock:
            sock.send(b"datagram")
            sock.recv(1000)

    assert next(packet[IPv6].dst for packet in came(capture) if IPv6 in packet) == "::1"
    assert next(bytes(packet[UDP].payload) for packet in came(capture) if UDP in packet) == b"datagram"


def test_a_port_keeps_what_goes_there_and_what_comes_from_there(pod, talk):
    pod.request("listen", port=8080)
    with Capture(pod, "lo", port=15019) as capture:
        talk(b"hello")
        pod.request("connect_many", address="127.0.0.1", port=8080, count=3)

    assert {15019 in (packet[TCP].sport, packet[TCP].dport) for packet in capture} == {True}
    assert {packet[TCP].dport == 15019 for packet in capture} == {True, False}


def test_what_passed_before_and_after_is_not_there_and_it_grows_meanwhile(pod, talk):
    talk(b"before")
    with Capture(pod, "lo") as capture:
        assert len(capture) == 0
        talk(b"meanwhile")
        assert b"meanwhile" in capture.payloads
        talk(b"a moment later")
    before = len(capture)
    talk(b"after")

    assert b"a moment later" in capture.payloads
    assert not {b"before", b"after"} & set(capture.payloads)
    assert len(capture) == before


def test_leaving_waits_for_what_is_still_on_its_way(pod, talk, monkeypatch):
    monkeypatch.setattr(capture_module, "_QUIET_MS", 500)  # on a busy machine 20 ms are nothing
    with Capture(pod, "lo") as capture:
        talk(b"hello")
        later = threading.Timer(0.005, talk, [b"late"])
        later.start()
    later.join()

    assert b"late" in capture.payloads


def test_leaving_ends_also_when_packets_keep_coming(pod):
    pod.request("listen", port=8080)
    loop = pod.request("loop_start", address="127.0.0.1", port=8080, pause=0.002)["loop"]
    with Capture(pod, "lo") as capture:
        pass

    assert capture.closed
    assert len(capture) > 0
    pod.request("loop_stop", loop=loop)


def test_packets_without_room_in_the_queue_are_counted(pod, talk):
    with Capture(pod, "lo") as capture:
        capture.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        talk(*[b"hello"] * 50)
        capture.close()

    assert capture.lost > 50
    assert repr(capture).endswith(f"{capture.lost} lost>")
    assert f"{capture.lost} packets lost" in capture._repr_html_()


def test_a_megabyte_is_captured_whole(pod, connect):
    pod.request("listen", port=8080)
    data = bytes(range(256)) * 4096
    with Capture(pod, "lo", port=8080) as capture, connect(pod, "127.0.0.1", 8080) as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(1)))
        sender.start()
        while sock.recv(65536):
            pass
        sender.join()

    stream = bytearray(len(data))
    first = capture[0][TCP].seq + 1
    for packet in capture.segments:
        if packet[TCP].dport == 8080:
            start = (packet[TCP].seq - first) % (1 << 32)  # a segment that is sent again may be cut in another way
            stream[start : start + len(packet[TCP].payload)] = bytes(packet[TCP].payload)
    assert stream == data
    assert capture.lost == 0


def test_it_shows_handshake_and_payloads_with_names_and_escapes_what_others_sent(pod, talk):
    with Capture(pod, "lo", 15019, lambda address: "<shop>" if address[1] != 15019 else "waypoint") as capture:
        talk(V4 + b"GET /stock/42", b"<img src=x onerror=alert(1)>")

    shown = re.sub(" style=[^>]*>", ">", capture._repr_html_())
    assert (
        "<td>segments[1]</td><td>&lt;shop&gt; → waypoint:15019</td><td>PSH ACK</td><td>29 bytes</td>"
        "<td><code>01 00 00 00 06 0a 60 00 0a 00 50 fe 00 00 00 00</code><br>KmeshTLV 10.96.0.10 port 80<br>"
        "<code>GET /stock/42</code></td>"
    ) in shown
    assert "<td>handshake</td><td>waypoint:15019 → &lt;shop&gt;</td><td>SYN ACK</td>" in shown
    assert "<img" not in shown
    assert repr(capture).startswith("<Capture inventory-a lo port 15019: ")


def test_an_interface_that_is_not_there_is_an_error_and_nothing_stays_open(pod):
    with pytest.raises(LabError, match=r"^pod 'inventory-a' has no interface 'eth7': No such device$"):
        Capture(pod, "eth7")


def test_the_queued_packets_of_a_pod_that_has_ended_are_kept(pod, talk):
    with Capture(pod, "lo") as capture:
        talk(b"hello")
        pod.close()

    assert b"hello" in capture.payloads
    assert capture.closed
