"""TlvInspector in a real JupyterLab: bytes and fields tied together, edits, and the decoder's verdict on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Locator, expect

from .conftest import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OpenCells = Callable[[Sequence[str]], Notebook]

INSPECT = "from kmesh_lab.widgets.tlv_inspector import TlvInspector\nt = TlvInspector()\nt"
HOSTILE = """
from kmesh_lab.traffic import KmeshTLV, KmeshTLVEnd
from kmesh_lab.widgets.tlv_inspector import TlvInspector
TlvInspector(KmeshTLV(addr="10.96.0.10", port=80) / KmeshTLVEnd() / b"<img src=x onerror=alert(1)>")
"""


def opened(open_cells: OpenCells, cell: str = INSPECT) -> tuple[Notebook, Locator]:
    notebook = open_cells([cell])
    notebook.page.set_viewport_size({"width": 1280, "height": 1400})
    notebook.run_all()
    view = notebook.page.locator(".kl-tlv")
    view.wait_for()
    return notebook, view


def byte(view: Locator, number: int) -> Locator:
    return view.get_by_role("gridcell", name=f"byte {number}:")


def row(view: Locator, table: str, name: str) -> Locator:
    header = view.page.get_by_role("rowheader", name=name, exact=True)
    return view.get_by_role("table", name=table).get_by_role("row").filter(has=header)


def test_a_byte_and_its_field_are_tied_both_ways(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)
    about, tied = view.locator(".kl-tlv-about"), view.locator(".kl-tlv-byte.kl-tlv-on")
    expect(view.get_by_role("status")).to_have_text(
        "✓ Complete: the client asked for 10.96.0.10:80; 13 bytes of payload"
    )

    byte(view, 10).hover()
    expect(about).to_have_text("port · bytes 9–10 · 80 · the port the client asked for")
    expect(tied).to_have_count(2)
    expect(view.locator("tr.kl-tlv-on")).to_contain_text("port")
    notebook.pictures(view, "tlv-inspector")

    row(view, "Fields", "address").hover()
    expect(tied).to_have_count(4)
    expect(about).to_contain_text("address · bytes 5–8 · 10.96.0.10")

    view.get_by_role("button", name="end type").focus()
    expect(tied).to_have_count(1)
    assert (notebook.outside, notebook.errors) == ([], [])


def test_byte_order_and_scapy_stand_beside_the_bytes(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)

    expect(row(view, "Byte order", "port")).to_have_text("port00 508020,480")
    expect(row(view, "Byte order", "length")).to_have_text("length00 00 00 066100,663,296")
    expect(view.locator(".kl-tlv-scapy")).to_contain_text("###[ KmeshTLVEnd ]###")
    view.get_by_role("button", name="IPv6").click()
    expect(view.get_by_role("status")).to_contain_text("the client asked for [fd00:10:96::10]:80")
    expect(view.get_by_role("button", name="IPv6")).to_have_attribute("aria-pressed", "true")
    expect(byte(view, 20)).to_have_accessible_name("byte 20: 10, address fd00:10:96::10")
    assert notebook.ask("t.data[5:21].hex()") == "fd000010009600000000000000000010"
    notebook.page.mouse.move(0, 0)
    notebook.pictures(view, "tlv-inspector-ipv6")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_two_digits_change_a_byte_and_the_decoder_answers_at_once(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)
    page, status = notebook.page, view.get_by_role("status")
    cells = page.locator(".jp-Cell").count()

    byte(view, 10).click()
    page.keyboard.type("51")
    expect(status).to_contain_text("the client asked for 10.96.0.10:81")
    assert notebook.ask("t.data[10]") == "81"
    expect(page.locator(":focus")).to_have_accessible_name("byte 11: fe, end type 0xfe")

    for key in "dd":  # in command mode this deletes the cell
        page.keyboard.press(key)
        assert page.locator(".jp-Cell").count() == cells
    expect(status).to_contain_text("malformed TLV: after the port comes dd 00 00 00 00, expected the end mark fe")
    expect(view.locator(".kl-tlv-byte.kl-tlv-not-decoded")).to_have_count(18)
    notebook.pictures(view, "tlv-inspector-refused")

    page.keyboard.press("ArrowLeft")
    page.keyboard.type("f")
    page.keyboard.press("Escape")
    expect(byte(view, 11)).to_contain_text("dd")
    page.keyboard.type("fe")
    expect(status).to_contain_text("Complete")
    assert (notebook.outside, notebook.errors) == ([], [])


def test_typing_faster_than_the_kernel_answers_loses_nothing(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)

    byte(view, 0).click()
    notebook.page.keyboard.type("01000000060a60000b0051fe00000000")

    expect(view.get_by_role("status")).to_contain_text("the client asked for 10.96.0.11:81")
    assert notebook.ask("t.data[:16].hex()") == "01000000060a60000b0051fe00000000"


def test_bytes_are_removed_and_added_with_the_keyboard(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)
    page, status = notebook.page, view.get_by_role("status")

    byte(view, 0).click()
    page.keyboard.press("Control+End")
    expect(page.locator(":focus")).to_have_accessible_name("after the last byte: type two hex digits to add one")
    for size in range(28, 14, -1):
        page.keyboard.press("Backspace")
        expect(view.locator(".kl-tlv-title")).to_contain_text(f"{size} bytes")
    expect(status).to_have_text("… Incomplete: needs 1 more byte")
    expect(row(view, "Fields", "end length")).to_contain_text("1 byte missing")
    expect(view.locator("tr.kl-tlv-on")).to_have_count(0)  # the mouse still lies where it clicked
    notebook.pictures(view, "tlv-inspector-incomplete")

    page.keyboard.type("00")
    expect(status).to_contain_text("Complete")
    assert notebook.ask("len(t.data)") == "16"
    assert (notebook.outside, notebook.errors) == ([], [])


def test_pasted_hex_is_decoded_and_what_is_no_hex_is_refused_without_losing_anything(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)
    box, status = view.get_by_label("The bytes as hex"), view.get_by_role("status")

    box.fill("01 00 00 00 06 0a 60")
    expect(status).to_have_text("… Incomplete: needs 9 more bytes")
    box.fill("01 00 zz")
    expect(view.locator(".kl-tlv-refused")).to_have_text("'z' is no hex digit; expected pairs of 0–9 and a–f")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(box).to_have_value("01 00 zz")
    expect(status).to_have_text("… Incomplete: needs 9 more bytes")
    assert notebook.ask("t.data.hex()") == "01000000060a60"

    box.fill("0x47455420")
    expect(status).to_contain_text("no TLV: the first byte is 0x47, expected 0x01")
    expect(view.locator(".kl-tlv-refused")).to_be_empty()
    assert (notebook.outside, notebook.errors) == ([], [])


def test_a_hostile_payload_is_text(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells, HOSTILE)

    expect(row(view, "Fields", "payload")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(view.locator(".kl-tlv-scapy")).to_contain_text("<img src=x onerror=alert(1)>")
    byte(view, 20).click()
    expect(view.locator(".kl-tlv-about")).to_contain_text("<img src=x onerror=alert(1)>")
    assert notebook.page.locator(".jp-OutputArea-output img").count() == 0
    assert (notebook.outside, notebook.errors) == ([], [])


def test_without_a_kernel_the_last_answer_stays_and_says_so(open_cells: OpenCells) -> None:
    notebook, view = opened(open_cells)
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    byte(view, 10).click()
    notebook.page.keyboard.type("51")

    expect(view.get_by_role("alert").first).to_contain_text("its last answer", timeout=10_000)
    expect(view.get_by_role("status")).to_contain_text("10.96.0.10:80")
    assert notebook.errors == []
