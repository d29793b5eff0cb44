"""Ring buffers: in order, none twice, and what did not fit is counted."""

import signal
import threading
import time

import pytest

from kmesh_lab.kernel.ringbuf import RingBuffer
from kmesh_lab.kernel.testrun import run_on_packet

pytestmark = pytest.mark.root

# A record of 8 bytes takes 16 with its header, and one byte of the ring is never used: 255 of them fit into 4096.
TELL = """
struct tell_table_t {
	int key;
	u64 leaf;
	void *(*ringbuf_reserve)(u64);
	void (*ringbuf_submit)(void *, u64);
	u32 max_entries;
};
__attribute__((section("maps/ringbuf"))) struct tell_table_t ring = { .max_entries = 4096 };
BPF_ARRAY(told, u64, 2); /* how many, how many of them were lost */

SEC("socket")
int tell(struct __sk_buff *skb)
{
	int zero = 0, one = 1;
	u64 *number = told.lookup(&zero), *lost = told.lookup(&one), *record;

	if (!number || !lost)
		return 0;
	record = ring.ringbuf_reserve(sizeof(*record));
	if (record) {
		*record = *number;
		ring.ringbuf_submit(record, 0);
	} else {
		*lost += 1;
	}
	*number += 1;
	return 0;
}
"""


@pytest.fixture
def module(load):
    return load(TELL)


@pytest.fixture
def tell(module):
    program = module.load("tell")
    return lambda times=1: run_on_packet(program, times=times)


@pytest.fixture
def ring(module):
    ring = RingBuffer(module.maps["ring"])
    yield ring
    ring.close()


@pytest.fixture
def lost(module):
    return lambda: int.from_bytes(module.maps["told"].lookup(b"\1\0\0\0"), "little")


def numbers(records):
    return [int.from_bytes(record, "little") for record in records]


def test_records_come_in_order_and_each_once(ring, tell):
    tell(3)
    first = ring.drain()
    tell(2)

    assert numbers(first) == [0, 1, 2]
    assert numbers(ring.drain()) == [3, 4]
    assert ring.drain() == []


def test_what_finds_the_ring_full_is_lost_and_counted_and_the_rest_is_in_order(ring, tell, lost):
    tell(300)
    kept = numbers(ring.drain())
    tell(2)

    assert kept == list(range(255))
    assert lost() == 300 - 255
    assert numbers(ring.drain()) == [300, 301]


def test_a_reader_in_between_loses_nothing(ring, tell, lost):
    seen = []
    for _ in range(40):
        tell(250)
        seen += numbers(ring.drain())

    assert seen == list(range(10_000))
    assert lost() == 0


def test_waiting_ends_with_the_first_record(ring, tell):
    writer = threading.Timer(0.1, tell)
    writer.start()
    start = time.monotonic()

    records = ring.drain(wait_ms=10_000)

    assert numbers(records) == [0]
    assert time.monotonic() - start < 5
    writer.join()


def test_waiting_ends_when_the_time_is_over(ring):
    start = time.monotonic()

    assert ring.drain(wait_ms=50) == []
    assert 0.04 < time.monotonic() - start < 5


def test_a_signal_ends_the_waiting_without_an_error(ring):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    start = time.monotonic()
    try:
        assert ring.drain(wait_ms=10_000) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 5


def test_a_closed_ring_has_no_records(ring, tell):
    tell()
    ring.close()
    ring.close()

    assert ring.drain(wait_ms=10) == []


def test_a_ring_leaves_no_descriptor(module, descriptors):
    before = descriptors()
    for _ in range(10):
        RingBuffer(module.maps["ring"]).close()

    assert descriptors() == before
