"""Localities, places and the priority that a node gives to a workload."""

import pytest

from kmesh_lab.mesh import Locality, Place, Scope, ScopeMatch, explain_priority, priority

XIAN_A = Place(Locality("cn-west", "xian", "a"), node="n1")
XIAN_B = Place(Locality("cn-west", "xian", "b"), node="n2")
CHENGDU_A = Place(Locality("cn-west", "chengdu", "a"), node="n3")
HANGZHOU = Place(Locality("cn-east", "hangzhou"), node="n4", cluster="east", network="net-east")

ALL_SCOPES = ["REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER", "NETWORK"]


def test_scopes_have_the_numbers_of_the_workload_api():
    assert {scope.name: scope.value for scope in Scope} == {
        "REGION": 1,
        "ZONE": 2,
        "SUBZONE": 3,
        "NODE": 4,
        "CLUSTER": 5,
        "NETWORK": 6,
    }


@pytest.mark.parametrize(
    ("text", "region", "zone", "subzone"),
    [
        ("cn-west", "cn-west", "", ""),
        ("cn-west/xian", "cn-west", "xian", ""),
        ("cn-west/xian/a", "cn-west", "xian", "a"),
    ],
)
def test_a_locality_reads_and_writes_one_to_three_parts(text, region, zone, subzone):
    locality = Locality.parse(text)

    assert (locality.region, locality.zone, locality.subzone) == (region, zone, subzone)
    assert str(locality) == text


def test_an_unknown_locality_is_all_absent():
    assert Locality() == Locality("", "", "")
    assert str(Locality()) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' has an empty part"),
        ("cn-west//a", "'cn-west//a' has an empty part"),
        ("cn-west/", "'cn-west/' has an empty part"),
        ("a/b/c/d", "'a/b/c/d' has 4 parts"),
        (None, "None is not a string"),
    ],
)
def test_a_malformed_locality_is_refused(refused, text, problem):
    with refused(f"locality {problem}: expected 'region', 'region/zone' or 'region/zone/subzone'"):
        Locality.parse(text)


@pytest.mark.parametrize("parts", [("", "xian", ""), ("cn-west", "", "a")])
def test_a_locality_has_no_part_below_an_absent_one(refused, parts):
    with refused(f"locality {parts} has a hole: a subzone needs a zone, and a zone needs a region"):
        Locality(*parts)


def test_a_part_of_a_locality_has_no_slash(refused):
    with refused(
        "locality ('cn-west/xian', '', '') has a '/' inside a part: use Locality.parse('region/zone/subzone')"
    ):
        Locality("cn-west/xian")


def test_a_part_of_a_locality_is_a_string(refused):
    with refused("locality (1, '', ''): each part is a string; use Locality.parse('region/zone/subzone')"):
        Locality(1)


@pytest.mark.parametrize("cluster", ["a/b", "", 5])
def test_the_cluster_of_a_place_can_be_part_of_a_uid(refused, cluster):
    with refused(
        f"cluster {cluster!r} of node 'n1': expected at least one character and no '/', "
        "which separates the parts of a uid"
    ):
        Place(Locality(), "n1", cluster)


def test_the_network_of_a_place_is_a_string(refused):
    with refused("network 5 of node 'n1': expected a name such as 'net-east', or '' for none"):
        Place(Locality(), "n1", network=5)


def test_a_place_knows_the_value_of_every_scope():
    assert [HANGZHOU.value_of(scope) for scope in Scope] == ["cn-east", "hangzhou", "", "n4", "east", "net-east"]


def test_a_place_is_in_the_cluster_kubernetes_and_in_no_network_unless_said():
    assert XIAN_A.value_of(Scope.CLUSTER) == "Kubernetes"
    assert XIAN_A.value_of(Scope.NETWORK) == ""


@pytest.mark.parametrize(
    ("workload", "expected"),
    [(XIAN_A, 0), (XIAN_B, 1), (CHENGDU_A, 2), (HANGZHOU, 3)],
)
def test_every_leading_scope_that_matches_brings_an_endpoint_one_priority_nearer(workload, expected):
    assert priority(["REGION", "ZONE", "SUBZONE"], XIAN_A, workload) == expected


def test_a_match_after_the_first_difference_does_not_count():
    # Kmesh's own example: network and region equal, zone differs, subzone equal (bpfcache/locality_cache_test.go).
    preference = [Scope.NETWORK, Scope.REGION, Scope.ZONE, Scope.SUBZONE]

    assert priority(preference, XIAN_A, CHENGDU_A) == 2


def test_the_order_of_the_preference_decides():
    assert priority(["SUBZONE", "ZONE"], XIAN_A, CHENGDU_A) == 1
    assert priority(["ZONE", "SUBZONE"], XIAN_A, CHENGDU_A) == 2


def test_two_absent_values_are_equal():
    region_only = Place(Locality("cn-west"), node="n5")

    assert priority(["REGION", "ZONE", "SUBZONE"], region_only, region_only) == 0
    assert priority(["NETWORK"], XIAN_A, region_only) == 0
    assert priority(["ZONE"], region_only, XIAN_A) == 1


def test_an_empty_preference_makes_every_workload_nearest():
    assert priority([], XIAN_A, HANGZHOU) == 0


def test_only_six_scopes_reach_priority_six():
    assert priority(ALL_SCOPES, XIAN_A, HANGZHOU) == 6
    assert priority(ALL_SCOPES, XIAN_A, XIAN_A) == 0


def test_a_seventh_scope_is_refused(refused):
    with refused(
        "a routing preference of 7 scopes does not fit: Kmesh has priorities 0 to 6, so give at most 6 scopes"
    ):
        priority([*ALL_SCOPES, "REGION"], XIAN_A, XIAN_A)


def test_an_unknown_scope_is_refused(refused):
    with refused("unknown scope 'REGOIN': expected REGION, ZONE, SUBZONE, NODE, CLUSTER or NETWORK"):
        priority(["REGOIN"], XIAN_A, XIAN_A)


def test_the_explanation_shows_both_values_and_where_the_comparison_stopped():
    steps = explain_priority(["REGION", "ZONE", "SUBZONE"], XIAN_A, CHENGDU_A)

    assert steps == [
        (Scope.REGION, "cn-west", "cn-west", True),
        (Scope.ZONE, "xian", "chengdu", False),
        (Scope.SUBZONE, "a", "a", None),
    ]
    assert [step.outcome for step in steps] == ["equal", "differs", "not reached"]


def test_one_comparison_reads_as_a_line():
    step = ScopeMatch(Scope.ZONE, "xian", "chengdu", False)

    assert repr(step) == "<ScopeMatch ZONE 'xian' 'chengdu': differs>"


def test_places_and_localities_read_as_a_line():
    assert repr(XIAN_A.locality) == "Locality('cn-west', 'xian', 'a')"
    assert repr(Locality()) == "Locality()"
    assert repr(XIAN_A) == "<Place cn-west/xian/a on n1, cluster Kubernetes>"
    assert repr(HANGZHOU) == "<Place cn-east/hangzhou on n4, cluster east, network net-east>"
    assert repr(Place(Locality(), "n6")) == "<Place no locality on n6, cluster Kubernetes>"
