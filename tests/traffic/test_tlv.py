"""The TLV: exact bytes, dissection, and reading it from a stream in any pieces."""

import re
import subprocess
import sys
from ipaddress import ip_address

import pytest
from scapy.packet import Raw

from kmesh_lab.traffic import KmeshTLV, KmeshTLVEnd, split, tlv

# 10.96.0.10 port 80, [fd00:96::10] port 80, and 10.96.0.10 port 80 as an AF_INET6 socket says it.
V4 = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
V6 = bytes.fromhex("01 00000012 fd000096000000000000000000000010 0050 fe 00000000")
MAPPED = bytes.fromhex("01 00000012 00000000000000000000ffff0a60000a 0050 fe 00000000")

DESTINATIONS = pytest.mark.parametrize(
    ("addr", "data"), [("10.96.0.10", V4), ("fd00:96::10", V6), ("::ffff:10.96.0.10", MAPPED)]
)


@DESTINATIONS
def test_a_tlv_builds_the_bytes_that_kmesh_sends(addr, data):
    assert bytes(KmeshTLV(addr=addr, port=80) / KmeshTLVEnd() / b"HELLO") == data + b"HELLO"
    assert bytes(KmeshTLV(addr=ip_address(addr), port=80) / KmeshTLVEnd()) == data


@DESTINATIONS
def test_the_bytes_that_kmesh_sends_dissect_into_tlv_end_and_payload(addr, data):
    packet = KmeshTLV(data + b"HELLO")

    assert [layer.__name__ for layer in packet.layers()] == ["KmeshTLV", "KmeshTLVEnd", "Raw"]
    assert (packet.type, packet.length, packet.addr, packet.port) == (1, len(data) - 10, ip_address(addr), 80)
    assert (packet[KmeshTLVEnd].type, packet[KmeshTLVEnd].length, packet[Raw].load) == (0xFE, 0, b"HELLO")
    assert bytes(packet) == data + b"HELLO"


def test_an_ipv4_tlv_has_16_bytes_and_an_ipv6_tlv_has_28():
    assert len(bytes(KmeshTLV() / KmeshTLVEnd())) == 16
    assert len(bytes(KmeshTLV(addr="::") / KmeshTLVEnd())) == 28


def test_a_tlv_shows_its_address_as_people_write_it(capsys):
    KmeshTLV(MAPPED).show()

    assert re.search(r"addr += ::ffff:10\.96\.0\.10\n +port += 80\n", capsys.readouterr().out)
    assert KmeshTLV(V4).summary() == "KmeshTLV 10.96.0.10 port 80 / KmeshTLVEnd"


def test_bytes_without_an_end_mark_dissect_into_tlv_and_raw():
    packet = KmeshTLV(V4[:11] + b"GET /")

    assert [layer.__name__ for layer in packet.layers()] == ["KmeshTLV", "Raw"]


def test_a_name_instead_of_an_address_is_refused():
    with pytest.raises(ValueError, match="'inventory' does not appear to be an IPv4 or IPv6 address"):
        KmeshTLV(addr="inventory")


@DESTINATIONS
def test_a_stream_may_be_cut_anywhere(addr, data):
    stream = data + b"GET /stock/42"

    for cut in range(len(data)):
        assert split(stream[:cut]) is None, cut
    for cut in range(len(data), len(stream) + 1):
        packet, rest = split(stream[:cut])
        assert (bytes(packet), packet.addr, packet.port) == (data, ip_address(addr), 80)
        assert rest == stream[len(data) : cut]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET / HTTP/1.1\r\n", "no TLV: the first byte is 0x47, expected 0x01"),
        (b"\x00", "no TLV: the first byte is 0x00, expected 0x01"),
        (V4[11:], "no TLV: the first byte is 0xfe, expected 0x01"),
        (bytes.fromhex("01 00000008"), "malformed TLV: length 8, expected 6 (IPv4) or 18 (IPv6)"),
        (bytes.fromhex("01 06000000"), "malformed TLV: length 100663296, expected 6 (IPv4) or 18 (IPv6)"),
        (bytes.fromhex("01 00000000"), "malformed TLV: length 0, expected 6 (IPv4) or 18 (IPv6)"),
        (V4[:11] + b"G", "malformed TLV: after the port comes 47, expected the end mark fe 00 00 00 00"),
        (
            V6[:23] + V4,
            "malformed TLV: after the port comes 01 00 00 00 06, expected the end mark fe 00 00 00 00",
        ),
        (V4[:15] + b"\x01", "malformed TLV: after the port comes fe 00 00 00 01, expected the end mark fe 00 00 00 00"),
    ],
)
def test_bytes_that_are_no_tlv_are_refused_with_the_reason(data, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        split(data)


def test_importing_the_layers_is_silent_and_takes_no_more_of_scapy_than_needed():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*{'scapy.all', 'scapy.layers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, tlv.__file__], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("\n", "")
