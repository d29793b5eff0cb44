"""Testing programs in the kernel, and grading the tests.

    from kmesh_lab.testing import grade

    grade("tlv", [test_the_tlv_has_16_bytes])

grader, grade   grade(), Grade: the mutation score of tests
mutants         Mutant, SUBJECTS: the mistakes to plant
stage, runner   what a test gets by name; each build in a process of its own
objects         a .o compiled, loaded and met by a socket, by hand; BPF_PROG_TEST_RUN
worthless, repaired     four tests that prove nothing, and their cures
listing         listing(): the text of a test
"""

from kmesh_lab.testing import repaired, worthless
from kmesh_lab.testing.grade import Grade
from kmesh_lab.testing.grader import grade
from kmesh_lab.testing.listing import listing
from kmesh_lab.testing.objects import compile_object, pair, socket_key, storage_row, test_runs

__all__ = [
    "Grade",
    "compile_object",
    "grade",
    "listing",
    "pair",
    "repaired",
    "socket_key",
    "storage_row",
    "test_runs",
    "worthless",
]
