"""Testing programs in the kernel, and grading the tests.

    from kmesh_lab.testing import grade

    grade("tlv", [test_the_tlv_has_16_bytes])

grader, grade   grade(), Grade: the mutation score of tests
mutants         Mutant, SUBJECTS: the mistakes to plant
stage, runner   what a test gets by name; each build in a process of its own
objects         a .o compiled, loaded and met by a socket, by hand; BPF_PROG_TEST_RUN
worthless, repaired, example    tests that prove nothing, their cures, and one that is not enough
listing         listing(): the text of a test
"""

from kmesh_lab.testing import example, repaired, worthless
from kmesh_lab.testing.grade import Grade
from kmesh_lab.testing.grader import grade
from kmesh_lab.testing.listing import listing
from kmesh_lab.testing.objects import compile_object, packet_runs, pair, socket_key, storage_row

__all__ = [
    "Grade",
    "compile_object",
    "example",
    "grade",
    "listing",
    "packet_runs",
    "pair",
    "repaired",
    "socket_key",
    "storage_row",
    "worthless",
]
