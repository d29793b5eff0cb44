"""What was compiled once is not compiled again by the next process."""

import os

import pytest
from learner_c import REFUSING

from kmesh_lab.kernel import cache
from kmesh_lab.kernel.bcc_process import Request, Result
from kmesh_lab.kernel.compiler import BPF_DIR

REQUEST = Request(REFUSING, ("-DKL_BCC=1",), (("refuse", 18, 10),))
RESULT = Result({}, {"refuse": bytes(16)}, b"btf")
HEADERS = BPF_DIR / "stubs"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def compiler():
    """Stands in for bcc and counts how often it is asked."""

    def compile_it(result=RESULT):
        compile_it.calls += 1
        return result

    compile_it.calls = 0
    return compile_it


def other(**fields):
    return Request(**{"text": REQUEST.text, "flags": REQUEST.flags, "programs": REQUEST.programs, **fields})


def test_the_same_request_is_compiled_once(compiler):
    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT
    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT
    assert compiler.calls == 1


@pytest.mark.parametrize(
    "request_", [other(text=f"{REFUSING}\n"), other(flags=("-DKL_BCC=2",)), other(programs=())], ids=repr
)
def test_another_request_is_compiled(compiler, request_):
    cache.kept(REQUEST, HEADERS, compiler)
    cache.kept(request_, HEADERS, compiler)

    assert compiler.calls == 2


def test_other_headers_are_another_request(compiler, tmp_path):
    (tmp_path / "headers").mkdir()
    cache.kept(REQUEST, tmp_path / "headers", compiler)
    (tmp_path / "headers/new.h").write_text("#define NEW\n")
    cache.kept(REQUEST, tmp_path / "headers", compiler)

    assert compiler.calls == 2


def test_what_was_refused_is_not_kept(compiler, folder):
    refused = Result({}, {}, b"", "the C did not compile")

    assert cache.kept(REQUEST, HEADERS, lambda: refused) == refused
    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT


def test_a_damaged_file_is_made_anew(compiler, folder):
    cache.kept(REQUEST, HEADERS, compiler)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-9])

    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT
    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT
    assert compiler.calls == 2


def test_a_file_that_others_could_have_written_is_not_believed(compiler, folder):
    cache.kept(REQUEST, HEADERS, compiler)
    (file,) = folder.iterdir()
    file.chmod(0o666)

    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT
    assert compiler.calls == 2


def test_only_the_newest_are_kept(compiler, folder):
    for number in range(cache._FILES + 3):
        cache.kept(other(text=str(number)), HEADERS, compiler)
        for file in folder.iterdir():  # the clock of the file system may stand still meanwhile
            os.utime(file, (0, file.stat().st_mtime - 1))

    assert len(list(folder.iterdir())) == cache._FILES
    cache.kept(other(text=str(cache._FILES + 2)), HEADERS, compiler)
    assert compiler.calls == cache._FILES + 3


def test_where_nothing_can_be_written_it_works_all_the_same(compiler, folder):
    folder.write_text("not a folder")

    assert cache.kept(REQUEST, HEADERS, compiler) == RESULT


def test_headers_of_somebody_else_are_not_kept(compiler, monkeypatch, folder):
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/usr/src/linux")

    cache.kept(REQUEST, HEADERS, compiler)

    assert not folder.exists()
