"""The ids of names: FNV-1a, and linear probing when two names want the same number.

The colliding names were found by search; their hashes are written next to them.
"""

import pytest

from kmesh_lab.mesh import IdTable, Service, Workload, fnv1a_32

HASHED_TO_0 = "Kubernetes//Pod/shop/inventory-0bsf431"
ALSO_HASHED_TO_0 = "Kubernetes//Pod/shop/inventory-twr3tt1"
HASHED_TO_FFFFFFFF = "Kubernetes//Pod/shop/inventory-qnnfy13"
ALSO_HASHED_TO_FFFFFFFF = "Kubernetes//Pod/shop/inventory-uoccr24"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0x811C9DC5),
        ("a", 0xE40C292C),
        ("foobar", 0xBF9CF968),
        ("costarring", 0x5E4DAA9D),
        ("liquid", 0x5E4DAA9D),
        (HASHED_TO_0, 0),
        (ALSO_HASHED_TO_0, 0),
        (HASHED_TO_FFFFFFFF, 0xFFFFFFFF),
        (ALSO_HASHED_TO_FFFFFFFF, 0xFFFFFFFF),
    ],
)
def test_the_hash_is_fnv_1a(text, expected):
    assert fnv1a_32(text) == expected


@pytest.mark.parametrize("text", ["/", "shop/", "//", "a/b/c", "Kubernetes//Pod/shop/é"])
def test_remembering_the_common_beginning_does_not_change_the_hash(text):
    state = 0x811C9DC5
    for byte in text.encode("utf-8"):
        state = ((state ^ byte) * 0x01000193) % 2**32

    assert fnv1a_32(text) == state
    assert fnv1a_32(text) == state  # the second time from memory


def test_ids_are_those_of_kmesh():
    ids = IdTable()

    assert ids.id_of("default/httpbin.default.svc.cluster.local") == 2454042994 == 0x9245B972
    assert ids.id_of("Kubernetes//Pod/default/httpbin-abc") == 3096016647 == 0xB8897707


def test_services_and_workloads_have_ids_by_key_and_uid():
    ids = IdTable()

    assert ids.id_of(Service("httpbin", vip="10.96.0.10", ports=[80]).key) == 2454042994
    assert ids.id_of(Workload("httpbin-abc", "10.244.1.2", "n1", "cn-west").uid) == 3096016647


def test_an_id_is_given_once():
    ids = IdTable()

    assert ids.id_of("liquid") == ids.id_of("liquid")
    assert len(ids) == 1


def test_the_second_of_two_colliding_names_gets_the_next_number():
    ids = IdTable()

    assert ids.id_of("costarring") == 0x5E4DAA9D
    assert ids.id_of("liquid") == 0x5E4DAA9E


def test_two_nodes_that_hear_of_names_in_another_order_give_other_ids():
    ids = IdTable()

    assert ids.id_of("liquid") == 0x5E4DAA9D
    assert ids.id_of("costarring") == 0x5E4DAA9E


def test_no_name_gets_the_id_of_the_dns_proxy():
    ids = IdTable()

    assert ids.id_of(HASHED_TO_0) == 1
    assert ids.id_of(ALSO_HASHED_TO_0) == 2


def test_probing_wraps_around_and_skips_zero():
    ids = IdTable()

    assert ids.id_of(HASHED_TO_FFFFFFFF) == 0xFFFFFFFF
    assert ids.id_of(ALSO_HASHED_TO_FFFFFFFF) == 1


def test_an_id_leads_back_to_its_name():
    ids = IdTable()
    number = ids.id_of("liquid")

    assert ids.name_of(number) == "liquid"
    assert ids.name_of(number + 1) is None


def test_a_released_name_is_forgotten_and_its_number_is_free():
    ids = IdTable()
    number = ids.id_of("costarring")
    ids.release("costarring")

    assert "costarring" not in ids
    assert ids.name_of(number) is None
    assert ids.id_of("liquid") == number


def test_releasing_a_name_leaves_a_colliding_neighbour_where_it_is():
    ids = IdTable()
    ids.id_of("costarring")
    neighbour = ids.id_of("liquid")
    ids.release("costarring")

    assert ids.id_of("liquid") == neighbour == 0x5E4DAA9E


def test_releasing_an_unknown_name_changes_nothing():
    ids = IdTable()
    ids.id_of("liquid")
    ids.release("costarring")

    assert len(ids) == 1
    assert "liquid" in ids


def test_a_table_of_ids_reads_as_a_line():
    ids = IdTable()
    assert repr(ids) == "<IdTable 0 ids>"

    ids.id_of("liquid")
    assert repr(ids) == "<IdTable 1 id>"


def test_a_long_table_shows_its_first_twenty_rows():
    ids = IdTable()
    for number in range(25):
        ids.id_of(f"pod-{number:02}")
    table = ids._repr_html_()

    assert "<caption>IdTable, 25 ids, the first 20</caption>" in table
    assert "<td>pod-19</td>" in table
    assert "<td>pod-20</td>" not in table
