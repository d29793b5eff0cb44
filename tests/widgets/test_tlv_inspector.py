"""TlvInspector without a browser: what it sends to the page, what it answers, and its static form."""

from __future__ import annotations

import json
import time

import nbformat
import pytest
from nbclient import NotebookClient
from scapy.packet import Raw

from kmesh_lab.traffic import KmeshTLV, KmeshTLVEnd
from kmesh_lab.widgets.tlv_inspector import TlvInspector

V4 = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
V6 = bytes.fromhex("01 00000012 fd000096000000000000000000000010 0050 fe 00000000")
HOSTILE = b"<img src=x onerror=alert(1)>"


def layout(view: TlvInspector) -> list[tuple[str, int, int]]:
    return [(field["name"], field["start"], field["size"]) for field in view.frame["fields"]]


def test_every_byte_of_an_ipv4_tlv_belongs_to_a_field():
    view = TlvInspector(V4 + b"HELLO")

    assert layout(view) == [
        ("type", 0, 1),
        ("length", 1, 4),
        ("address", 5, 4),
        ("port", 9, 2),
        ("end type", 11, 1),
        ("end length", 12, 4),
        ("payload", 16, 5),
    ]
    assert [field["value"] for field in view.frame["fields"]] == ["0x01", "6", "10.96.0.10", "80", "0xfe", "0", "HELLO"]
    assert (view.frame["state"], view.frame["size"]) == ("complete", 21)
    assert repr(view) == "<TlvInspector 21 bytes: the client asked for 10.96.0.10:80; 5 bytes of payload>"


def test_an_ipv6_address_has_sixteen_bytes():
    view = TlvInspector(V6)

    assert layout(view)[2:4] == [("address", 5, 16), ("port", 21, 2)]
    assert view.frame["verdict"] == "the client asked for [fd00:96::10]:80; no bytes of payload"


def test_a_packet_is_as_good_as_its_bytes():
    packet = KmeshTLV(addr="::ffff:10.96.0.10", port=80) / KmeshTLVEnd() / Raw(b"HELLO")

    view = TlvInspector(packet)

    assert view.data == bytes(packet)
    assert view.frame["fields"][2]["value"] == "::ffff:10.96.0.10"
    assert view.frame["examples"] == ["yours", "IPv4", "IPv6"]


def test_a_little_endian_reader_gets_another_length_and_another_port():
    fields = {field["name"]: field for field in TlvInspector(V4).frame["fields"]}

    assert (fields["length"]["value"], fields["length"]["little"]) == ("6", "100,663,296")
    assert (fields["port"]["value"], fields["port"]["little"]) == ("80", "20,480")
    assert fields["address"]["little"] == fields["end length"]["little"] == ""


def test_scapy_dissects_the_same_bytes():
    assert TlvInspector(V4 + b"HELLO").frame["scapy"] == KmeshTLV(V4 + b"HELLO").show(dump=True).rstrip()


@pytest.mark.parametrize(("size", "missing"), [(0, 5), (1, 4), (4, 1), (5, 11), (8, 8), (11, 5), (15, 1)])
def test_an_incomplete_tlv_says_how_many_bytes_it_needs(size, missing):
    view = TlvInspector()

    view.on_edit(hex=V4[:size].hex())

    assert view.frame["state"] == "more"
    assert view.frame["verdict"].startswith(f"needs {missing} more byte")
    assert sum(field["size"] for field in view.frame["fields"]) == size


@pytest.mark.parametrize(
    ("data", "verdict", "undecided"),
    [
        (b"GET / HTTP/1.1", "no TLV: the first byte is 0x47, expected 0x01", 0),
        (V4[:4] + b"\x08" + V4[5:], "malformed TLV: length 8, expected 6 (IPv4) or 18 (IPv6)", 5),
        (V4[:11] + b"HELLO", "malformed TLV: after the port comes 48 45 4c 4c 4f, expected the end mark", 11),
    ],
)
def test_bytes_that_are_no_tlv_are_decoded_as_far_as_they_go(data, verdict, undecided):
    view = TlvInspector(data)

    assert view.frame["state"] == "error"
    assert view.frame["verdict"].startswith(verdict)
    assert layout(view)[-1] == ("not decoded", undecided, len(data) - undecided)


def test_a_byte_can_be_changed_removed_and_added():
    view = TlvInspector(V4)

    view.on_change(at=10, hex="51", turn=7)
    assert (view.frame["fields"][3]["value"], view.frame["turn"]) == ("81", 7)
    view.on_change(at=15, hex="")
    assert (len(view.data), view.frame["verdict"]) == (15, "needs 1 more byte")
    view.on_change(at=15, hex="00")
    assert (view.data, view.frame["state"]) == (V4[:10] + b"\x51" + V4[11:], "complete")


@pytest.mark.parametrize("text", ["0xfe 0x00", "fe:00", "FE,00", "\\xfe\\x00", " fe\n00\t"])
def test_hex_is_read_as_people_paste_it(text):
    view = TlvInspector()

    view.on_edit(hex=text)

    assert (view.data, view.frame["refused"]) == (b"\xfe\x00", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("01 zz", "'z' is no hex digit; expected pairs of 0–9 and a–f"),
        ("01 0", "3 hex digits: the last byte has only one; expected pairs"),
        ("10x20", "'x' is no hex digit; expected pairs of 0–9 and a–f"),
        ("00" * 5000, "5,000 bytes are too many; expected at most 4,096"),
    ],
)
def test_what_is_no_hex_is_refused_and_nothing_is_lost(text, message):
    view = TlvInspector(V4)

    view.on_edit(hex=text, turn=3)

    assert (view.frame["refused"], view.frame["turn"]) == (message, 3)
    assert (view.data, view.frame["state"]) == (V4, "complete")


def test_a_byte_that_is_not_there_cannot_be_changed():
    view = TlvInspector(V4)

    view.on_change(at=99, hex="00")

    assert (view.data, view.frame["refused"]) == (V4, "there is no byte 99: there are 16")


def test_examples_lead_back_to_the_bytes_that_were_given():
    view = TlvInspector(V6)

    view.on_example(which="IPv4")
    assert (view.frame["example"], view.frame["fields"][2]["value"]) == ("IPv4", "10.96.0.10")
    view.on_example(which="yours")
    assert view.data == V6


def test_the_static_form_says_the_same_and_escapes_the_payload():
    html = TlvInspector(V4 + HOSTILE).html()

    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    for said in ("10.96.0.10", "0a 60 00 0a", "100,663,296", "20,480", "###[ KmeshTLVEnd ]###", "28 bytes of payload"):
        assert said in html
    assert "<style" not in html
    assert "<script" not in html


def test_many_bytes_are_cut_and_counted():
    view = TlvInspector(V4 + b"x" * 100_000)

    assert (len(view.data), view.frame["left_out"]) == (4096, 100_016 - 4096)
    assert len(json.dumps(view.frame)) < 20_000
    assert len(view.html()) < 5_000
    assert "and 95,920 more" in view.html()


def test_a_string_is_no_bytes():
    with pytest.raises(ValueError, match="'0100' are no bytes: expected bytes or a Scapy packet"):
        TlvInspector("0100")


def test_without_a_browser_the_static_form_is_in_the_output_and_nothing_waits():
    cell = nbformat.v4.new_code_cell("from kmesh_lab.widgets.tlv_inspector import TlvInspector\nTlvInspector()")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    started = time.monotonic()

    NotebookClient(notebook, timeout=30, kernel_name="python3").execute()

    data = notebook.cells[0].outputs[0]["data"]
    assert time.monotonic() - started < 20
    assert "10.96.0.10" in data["text/html"]
    assert data["text/plain"].startswith("<TlvInspector 29 bytes")
    assert "application/vnd.jupyter.widget-view+json" in data
