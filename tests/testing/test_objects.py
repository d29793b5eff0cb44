"""A program met by hand: compiled, loaded, attached, triggered, verified; with clang and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import kmesh_lab as km
from kmesh_lab.kernel.compiler import BPF_DIR
from kmesh_lab.kernel.program import Program
from kmesh_lab.testing import compile_object, listing, packet_runs, pair, socket_key, storage_row, worthless
from kmesh_lab.testing.objects import Loaded

pytestmark = pytest.mark.root

TLV = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")


@pytest.fixture(params=["clang", "bcc"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Compile and load a file of bpf/ with one of the toolchains."""
    if request.param == "bcc":
        monkeypatch.setattr("kmesh_lab.testing.objects.shutil.which", lambda name: None)
    opened: list[Loaded] = []

    def load_it(name: str) -> Loaded:
        compiled = compile_object(name)
        assert request.param in compiled.command
        opened.append(compiled.load())
        return opened[-1]

    yield load_it
    for each in opened:
        each.close()


def first_and_second_message(loaded: Loaded, *, row: bytes = b"") -> tuple[bytes, bytes]:
    program, sockhash = loaded.programs["sendmsg_prog"], loaded.maps["km_socket"]
    program.attach_to_map(sockhash)
    client, server = pair()
    with client, server:
        descriptor = client.fileno().to_bytes(4, "little")
        if row:
            loaded.maps["km_sockstorage"].update(descriptor, row)
        sockhash.update(socket_key(client), descriptor)
        assert list(sockhash.keys()) == [socket_key(client)]
        client.send(b"HELLO")
        first = server.recv(100)
        client.send(b"AGAIN")
        return first, server.recv(100)


def test_the_program_puts_the_tlv_before_the_first_message_only(load: Any) -> None:
    assert first_and_second_message(load("sendmsg.c"), row=storage_row("10.96.0.10", 80)) == (TLV + b"HELLO", b"AGAIN")


def test_without_a_row_for_the_socket_it_lets_the_message_pass(load: Any) -> None:
    assert first_and_second_message(load("sendmsg.c")) == (b"HELLO", b"AGAIN")


def test_with_the_storage_mocked_nobody_needs_to_write_a_row(load: Any) -> None:
    assert first_and_second_message(load("mock/sendmsg_mock.c")) == (TLV + b"HELLO", b"AGAIN")


def test_an_object_file_is_where_make_bpf_puts_it() -> None:
    compiled = compile_object("sendmsg.c")

    assert compiled.path == BPF_DIR.parent / "build" / "sendmsg.o"
    assert compiled.command.endswith("-c bpf/sendmsg.c -o build/sendmsg.o")


def test_c_that_does_not_compile_is_reported_with_the_output_of_clang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf" / "broken.c").write_text("int x = y;\n")
    monkeypatch.setattr("kmesh_lab.testing.objects.BPF_DIR", tmp_path / "bpf")
    monkeypatch.setattr("kmesh_lab.testing.objects._BUILD", tmp_path / "build")

    with pytest.raises(km.CompileError, match=r"clang: broken\.c did not compile") as caught:
        compile_object("broken.c")

    assert "undeclared identifier 'y'" in caught.value.log


def test_only_programs_that_take_a_packet_can_be_run_on_one() -> None:
    with km.Lab() as lab:
        runs = packet_runs(lab.node("n1").datapath.programs)

    assert {name: said for name, said in runs.items() if said != "ENOTSUPP"} == {
        "cgroup_skb_ingress_prog": "returned 1",
        "cgroup_skb_egress_prog": "returned 1",
    }
    assert len(runs) == 8
    assert "ENOTSUPP" in runs._repr_html_()


def test_what_the_kernel_will_not_run_is_told_by_the_name_of_the_errno() -> None:
    closed = Program("closed_prog", "cgroup_skb/egress", fd=-1, attach_type=0)

    assert packet_runs({"closed_prog": closed})["closed_prog"] == "EBADF"


def test_a_listing_is_the_test_without_what_only_machines_read() -> None:
    text = str(listing(worthless.test_the_socket_is_in_km_socket))

    assert text.startswith("def test_the_socket_is_in_km_socket(shop, inventory, n1):\n")
    assert "noqa" not in text
