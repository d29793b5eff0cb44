"""Maps: rows of bytes, one or many at a time, and where the fields are in them."""

import ctypes
import errno
import mmap
import struct

import pytest

from kmesh_lab.errors import MapFull
from kmesh_lab.kernel import maps as maps_module
from kmesh_lab.kernel.maps import Layout, Map

pytestmark = pytest.mark.root

MAPS = """
BPF_HASH(small, u32, u32, 4);
BPF_F_TABLE("hash", u64, u32, large, 100000, BPF_F_NO_PREALLOC);
BPF_ARRAY(numbers, u32, 4);
"""


@pytest.fixture
def maps(load):
    return load(MAPS).maps


@pytest.fixture
def small(maps):
    return maps["small"]


@pytest.fixture
def large(maps):
    return maps["large"]


def key(number):
    return number.to_bytes(8, "little")


def rows(*numbers):
    return [(key(number), (number % 1000).to_bytes(4, "little")) for number in numbers]


def test_a_row_is_written_replaced_read_and_deleted(small):
    small.update(b"\1\0\0\0", b"old!")
    small.update(b"\1\0\0\0", b"new!")

    assert small.lookup(b"\1\0\0\0") == b"new!"
    assert small.rows() == [(b"\1\0\0\0", b"new!")]
    assert (small.delete(b"\1\0\0\0"), small.delete(b"\1\0\0\0")) == (True, False)
    assert small.lookup(b"\1\0\0\0") is None
    assert small.rows() == []


@pytest.mark.parametrize(
    "put",
    [
        lambda small, number: small.update(bytes([number, 0, 0, 0]), b"abcd"),
        lambda small, number: small.update_many([(bytes([number, 0, 0, 0]), b"abcd")]),
    ],
    ids=["update", "update_many"],
)
def test_a_full_map_says_how_many_rows_it_holds_and_still_replaces(small, put):
    for number in range(4):
        put(small, number)

    with pytest.raises(MapFull, match=r"^map small is full: it holds 4 rows; delete some first$"):
        put(small, 4)

    put(small, 3)
    assert sorted(key for key, _ in small.rows()) == [bytes([number, 0, 0, 0]) for number in range(4)]


def test_many_rows_at_once_are_the_same_as_one_after_the_other(large, load):
    single = load(MAPS).maps["large"]
    wanted = rows(*range(1000))

    large.update_many(wanted)
    for each in wanted:
        single.update(*each)

    assert sorted(large.rows()) == sorted(single.rows()) == sorted(wanted)
    assert [large.lookup(key) for key, _ in wanted] == [value for _, value in wanted]
    large.delete_many(key for key, _ in wanted[::2])
    for key, _ in wanted[::2]:
        single.delete(key)
    assert sorted(large.rows()) == sorted(single.rows()) == sorted(wanted[1::2])


def test_more_rows_than_one_batch_reads_are_all_there(large):
    wanted = rows(*range(99_999))
    large.update_many(wanted)

    found = large.rows()

    assert len(found) == 99_999
    assert dict(found) == dict(wanted)


def test_deleting_many_skips_the_keys_that_are_not_there(large):
    large.update_many(rows(1, 2, 3, 4, 5, 6))

    large.delete_many(map(key, (99, 1, 98, 97, 3, 96, 6, 95)))

    assert sorted(large.rows()) == rows(2, 4, 5)


def test_deleting_thousands_that_are_not_there_takes_no_time_to_speak_of(large):
    large.update_many(rows(99_999))

    large.delete_many(map(key, range(50_000)))  # once more quadratic, this would take a minute
    large.delete_many([])

    assert large.rows() == rows(99_999)


def test_a_batch_that_does_not_fit_is_refused_and_what_fitted_can_be_deleted(small):
    five = [(bytes([number, 0, 0, 0]), b"abcd") for number in range(5)]

    with pytest.raises(MapFull):
        small.update_many(five)
    small.delete_many(key for key, _ in five)

    assert small.rows() == []


def test_an_array_has_all_its_rows_from_the_beginning(maps):
    maps["numbers"].update(b"\2\0\0\0", b"abcd")

    assert maps["numbers"].rows() == [
        (b"\0\0\0\0", bytes(4)),
        (b"\1\0\0\0", bytes(4)),
        (b"\2\0\0\0", b"abcd"),
        (b"\3\0\0\0", bytes(4)),
    ]


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda small: small.lookup(b"123"), "a key has 4 bytes, not 3"),
        (lambda small: small.delete(b"12345"), "a key has 4 bytes, not 5"),
        (lambda small: small.update(b"123", b"1234"), "a key has 4 bytes, not 3"),
        (lambda small: small.update(b"1234", b"123"), "a value has 4 bytes, not 3"),
        (lambda small: small.update_many([(b"1234", b"12345")]), "a key has 4 bytes and a value 4"),
        (lambda small: small.delete_many([b"1234", b"123"]), "a key has 4 bytes, not 3"),
    ],
)
def test_bytes_of_another_length_are_refused(small, operation, message):
    with pytest.raises(ValueError, match=rf"^map small: {message}$"):
        operation(small)


def test_a_closed_map_is_not_another_map_that_got_its_number(load):
    module = load(MAPS)
    closed = module.maps["small"]
    module.close()
    load(MAPS)

    with pytest.raises(OSError, match="bpf_map_lookup_elem") as caught:
        closed.lookup(b"\1\0\0\0")
    assert caught.value.errno == errno.EBADF


def test_memory_grows_with_the_rows_of_a_map_that_does_not_preallocate(large):
    before = large.memory()
    large.update_many(rows(*range(50_000)))

    assert large.memory() - before > 50_000 * 8
    large.delete_many(key(number) for number in range(50_000))


@pytest.mark.parametrize("count", [0, 1, 50_000])
def test_memory_is_the_same_on_a_kernel_that_only_says_what_a_full_map_would_take(large, monkeypatch, count):
    large.update_many(rows(*range(count)))
    by_the_kernel = large.memory()
    full = -(-100_000 * 16 // mmap.PAGESIZE) * mmap.PAGESIZE  # bpf_map_memory_footprint before Linux 6.4
    monkeypatch.setattr(maps_module, "_fdinfo", lambda fd: {"map_type": 1, "map_flags": 1, "memlock": full})

    assert abs(large.memory() - by_the_kernel) < 2048  # struct bpf_htab and the locks of its buckets

    large.delete_many(key(number) for number in range(count))


def test_a_map_shows_its_sizes():
    assert repr(Map("km_service", 3, 4, 132, 5000)) == ("<Map km_service key 4 B, value 132 B, at most 5000 rows>")


class Ports(ctypes.Structure):
    _fields_ = [("service", ctypes.c_uint16), ("target", ctypes.c_uint16)]


class Address(ctypes.Union):
    _fields_ = [("ip4", ctypes.c_uint32), ("ip6", ctypes.c_uint32 * 4)]


class Row(ctypes.Structure):
    _fields_ = [
        ("small", ctypes.c_uint8),
        ("__pad_1", ctypes.c_char * 3),
        ("below_zero", ctypes.c_int32),
        ("address", Address),
        ("ports", Ports),
        ("many", ctypes.c_uint32 * 3),
        ("big", ctypes.c_uint64),
    ]


def test_a_layout_packs_and_unpacks_what_ctypes_does():
    layout = Layout(Row)
    same = Row(1, b"", -2, Address(ip6=(3, 4, 5, 6)), Ports(7, 8), (9, 10, 11), 1 << 40)
    values = {
        "small": 1,
        "below_zero": -2,
        "address": struct.pack("=4I", 3, 4, 5, 6),
        "ports.service": 7,
        "ports.target": 8,
        "many": (9, 10, 11),
        "big": 1 << 40,
    }

    assert layout.size == ctypes.sizeof(Row)
    assert layout.pack(**values) == bytes(same)
    assert layout.unpack(bytes(same)) == values


def test_every_field_of_a_layout_lies_where_ctypes_has_it():
    layout = Layout(Row)
    assert [size for _, size in layout.slots()] == [1, 4, 16, 2, 2, 12, 8]
    offsets = {name: getattr(Row, name).offset for name in ("small", "below_zero", "address", "many", "big")}

    for (name, count), (start, _) in zip(layout.fields, layout.slots(), strict=True):
        whole = {0: b"\xff" * 16, 1: 1}.get(count, (1,) * count)
        first = next(at for at, byte in enumerate(layout.pack(**{name: whole})) if byte)
        expected = offsets.get(name, Row.ports.offset + {"ports.service": 0, "ports.target": 2}.get(name, 0))
        assert (name, first, start) == (name, expected, expected)


def test_fields_that_are_not_named_are_zero_and_unknown_ones_are_refused():
    layout = Layout(Row)

    assert layout.pack(small=255) == b"\xff".ljust(layout.size, b"\0")
    assert layout.pack(many=(1,)) == bytes(28) + b"\1" + bytes(layout.size - 29)
    with pytest.raises(TypeError, match="no such field: smal"):
        layout.pack(smal=1)


def test_a_member_of_a_union_has_a_layout_of_its_own():
    assert Layout(Row).variant("address", "ip6").unpack(struct.pack("=4I", 3, 4, 5, 6)) == {"": (3, 4, 5, 6)}
    assert Layout(Row).variant("address", "ip4").size == 4


def test_a_plain_number_is_a_layout_of_one_field_without_a_name():
    assert Layout(ctypes.c_uint32).pack(**{"": 7}) == b"\7\0\0\0"


def test_a_layout_with_bit_fields_is_refused():
    class Bits(ctypes.Structure):
        _fields_ = [("a", ctypes.c_uint32, 4), ("b", ctypes.c_uint32, 28)]

    with pytest.raises(TypeError, match="Bits has 4 bytes, its fields make 8"):
        Layout(Bits)
