"""Small C of a learner, and a cgroup to attach it to."""

import os
import zlib
from pathlib import Path

import pytest
from learner_c import REFUSING, Learner

from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.program import Module


@pytest.fixture
def write(tmp_path):
    """Write C: ``write("int x;")`` returns a `Learner`."""
    return lambda text, name="learner.c": Learner(tmp_path / name, text)


@pytest.fixture
def load(tmp_path_factory):
    """Compile and load C; closed at the end: ``load("BPF_HASH(m, u32, u32, 4);").maps["m"]``."""
    modules = []

    def load_one(text, **defines):
        # The name of the file is part of what is compiled: the same name for the same text, and it is compiled once.
        path = tmp_path_factory.getbasetemp() / f"learner-{zlib.crc32(text.encode()):x}.c"
        modules.append(Module(Learner(path, text).path, defines))
        return modules[-1]

    yield load_one
    for module in modules:
        module.close()


@pytest.fixture
def cgroup():
    with LabCgroup.create() as lab:
        yield lab.child("n1")


@pytest.fixture
def open_folder():
    """Descriptors of directories, closed at the end."""
    opened = []

    def open_one(path):
        opened.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return opened[-1]

    yield open_one
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture
def refusing(load):
    """A program that lets nobody connect."""
    return load(REFUSING).load("refuse")


@pytest.fixture
def descriptors():
    """Count the open descriptors of this process."""
    return lambda: len(os.listdir("/proc/self/fd"))


@pytest.fixture
def bpf():
    return Path(__file__).resolve().parents[2] / "bpf"
