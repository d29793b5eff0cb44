"""The ring buffer consumer: how many records a second `RingBuffer` reads without losing one.

A producer in a process of its own runs a program (events.c) so many times per millisecond with BPF_PROG_TEST_RUN. The
reader is the library's, as it is; the ring has 8 MB. A record that finds it full is counted by the program.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Figure
from kmesh_lab.kernel.libbpf import TestRunOptions, call
from kmesh_lab.kernel.program import Module
from kmesh_lab.kernel.ringbuf import RingBuffer

ROUNDS, RATE, SECONDS = 3, 50_000, 2.0
FASTER, BRIEFLY = (100_000, 200_000, 400_000), 1.0
RING_SIZE, PAGE = 8 << 20, 4096
_TICK = 0.001


def figures() -> list[Figure]:
    """What is lost at 50,000 records a second, what reading costs, and the fastest rate that loses nothing."""
    module = Module(Path(__file__).with_name("events.c"), {"KB_PAGES": RING_SIZE // PAGE})
    ring = RingBuffer(module.maps["kb_events"])
    try:
        program = module.load("emit").fd
        rounds = [_run(module, ring, program, RATE, SECONDS) for _ in range(ROUNDS)]
        faster = [(rate, _run(module, ring, program, rate, BRIEFLY)["lost"]) for rate in FASTER]
    finally:
        ring.close()
        module.close()
    lossless = [RATE] if not any(each["lost"] for each in rounds) else [0]
    for rate, lost in faster:
        if lost or not lossless[-1]:
            break
        lossless.append(rate)
    return [
        Figure(f"records per second, asked for {RATE:,}", [each["rate"] for each in rounds], "/s"),
        Figure(f"lost of {RATE * SECONDS:,.0f} records, 8 MB ring", [each["lost"] for each in rounds], "", at_most=0),
        Figure("time of the reading process per record", [each["cost"] for each in rounds]),
        Figure(f"fastest without a loss, of {', '.join(f'{rate:,}' for rate in (RATE, *FASTER))}", lossless[-1:], "/s"),
    ]


def _run(module: Module, ring: RingBuffer, program: int, rate: int, seconds: float) -> dict[str, float]:
    ring.drain()
    lost_before = _lost(module)
    count, spent = 0, time.process_time()
    command = [sys.executable, "-m", "benchmarks.events", str(program), str(rate), str(seconds)]
    producer = subprocess.Popen(command, pass_fds=[program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    while producer.poll() is None:
        count += len(ring.drain(100))
    count += len(ring.drain())
    spent = time.process_time() - spent
    written, took = json.loads(producer.communicate()[0])
    lost = _lost(module) - lost_before
    return {"rate": written / took, "lost": max(lost, written - count), "cost": spent / max(count, 1)}


def _lost(module: Module) -> int:
    key, value = module.layouts["kb_lost"]
    row = module.maps["kb_lost"].lookup(key.struct.pack(0))
    return int(value.struct.unpack(row)[0]) if row else 0


def _produce(program: int, rate: int, seconds: float) -> tuple[int, float]:
    """Write records at a steady rate; what a busy machine delays is made up for. Returns how many, and the time."""
    packet = bytes(64)
    run = TestRunOptions(data_in=packet, data_size_in=len(packet))
    start = time.perf_counter()
    written = 0
    while (now := time.perf_counter() - start) < seconds:
        run.repeat = int(rate * now) - written
        if run.repeat > 0:
            call("bpf_prog_test_run_opts", program, ctypes.byref(run))
            written += run.repeat
        time.sleep(_TICK)
    return written, now


if __name__ == "__main__":
    print(json.dumps(_produce(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
