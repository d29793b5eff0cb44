"""Ctrl-C, or Jupyter's stop button: what is under way ends first, and nothing of it remains."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import kmesh_lab as km
from kmesh_lab.datapath.publisher import Publisher
from kmesh_lab.lab.interrupts import uninterrupted

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """As in a terminal and in a notebook: whoever runs the tests may have been told to ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_until_the_block_has_ended() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("to its end")
        done.append("and further")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["to its end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_does_not_wait() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("so far")
            signal.raise_signal(signal.SIGINT)
            done.append("to its end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["so far"]


def test_in_another_thread_nothing_is_changed() -> None:
    seen = []

    def work() -> None:
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [signal.default_int_handler]


@pytest.mark.parametrize("change", ["apply", "delete"])
def test_a_change_that_is_interrupted_between_two_nodes_reaches_both(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    real = Publisher._finish
    interrupts = [signal.SIGINT]

    def finish(publisher: Publisher, *what: Any) -> None:
        real(publisher, *what)
        if interrupts:
            signal.raise_signal(interrupts.pop())

    with km.Lab() as lab:
        n1, n2 = lab.node("n1"), lab.node("n2")
        near, far = lab.pod("inventory-a", n1, listen=8080), lab.pod("inventory-b", n2, listen=8080)
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, [near, far])
        monkeypatch.setattr(Publisher, "_finish", finish)

        with pytest.raises(KeyboardInterrupt):
            lab.apply(inventory, [far]) if change == "apply" else lab.delete(near)

        assert interrupts == []
        assert n1.publisher.publication(inventory) == n2.publisher.publication(inventory)
        assert [end.name for end in n1.publisher.publication(inventory).endpoints] == ["inventory-b"]
        lab.delete(near)


MANY = """
import gc, os, random, signal, threading, time
import kmesh_lab as km

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def children():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()

signal.signal(signal.SIGINT, signal.default_int_handler)
with km.Lab() as lab:
    lab.pod("shop", lab.node("n1"))
before, interrupted = descriptors(), 0
for number in range(25):
    timer = threading.Timer(random.uniform(0, 0.15), os.kill, (os.getpid(), signal.SIGINT))
    lab = None
    try:
        timer.start()
        lab = km.Lab()
        lab.pod("shop", lab.node("n1"))
        time.sleep(10)
    except KeyboardInterrupt:
        interrupted += 1
    if lab:
        lab.close()
    del lab
    gc.collect()
print(interrupted, descriptors() - before, children())
"""


def test_a_lab_that_is_interrupted_at_any_moment_leaves_no_process_and_no_descriptor() -> None:
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=100)

    assert done.stdout == "25 0 []\n"
